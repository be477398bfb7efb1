// Serves a disk in memory in this process, and says what could be done on this machine's kernel.
#include <ublk/backends/memory.hpp>
#include <ublk/engine/observers.hpp>
#include <ublk/engine/testing/fake_disk.hpp>

#include <cstdio>

int main()
{
    auto memory = ublk::backends::Memory::create(1 << 20, 512);
    if (!memory)
        return 1;
    ublk::engine::testing::FakeDisk disk(*memory);
    const std::vector<std::byte> data(64 * 512, std::byte{0x5a});
    std::vector<std::byte> back(data.size());
    if (disk.write(512, data) != 0 || disk.read(512, back) != 0 || back != data)
        return 1;
    const auto metrics = ublk::observe::Metrics::create({.device = 1, .backend = "memory"}, 1);
    if (!metrics || ublk::observe::to_json(std::vector{metrics->snapshot()}).empty())
        return 1;
    const auto control = ublk::engine::Control::open();
    std::printf("%s\n", control ? "ublk devices can be served here" : control.error().message().c_str());
    return 0;
}
