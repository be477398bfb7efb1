#include "conformance/lockstep/subject.hpp"

#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"
#include "conformance/driver/user_verbs.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <future>
#include <memory>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace conformance::lockstep {

namespace model = ublk::model;
namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

namespace {

constexpr Millis short_limit = 100ms; // of a request: it is looked at once a second
constexpr std::uint64_t page_sectors = 8,
                        page_distance = 64; // 512-byte sectors; far from the next, so not merged

std::uint32_t io_op(Verb verb)
{
    constexpr std::uint32_t no_io_nr = 0x30;
    switch (verb) {
    case Verb::fetch:
        return uapi::opcode(IoNr::fetch_req);
    case Verb::commit:
        return uapi::opcode(IoNr::commit_and_fetch_req);
    case Verb::get_data:
        return uapi::opcode(IoNr::need_get_data);
    case Verb::register_buffer:
        return uapi::opcode(IoNr::register_io_buf);
    case Verb::unregister_buffer:
        return uapi::opcode(IoNr::unregister_io_buf);
    default:
        return uapi::encode_opcode(uapi::Direction::read_write, uapi::opcode_type_ublk, no_io_nr,
                                   sizeof(IoCmd));
    }
}

std::string line_of(pid_t tid, std::string_view file)
{
    std::ifstream stream(fmt::format("/proc/self/task/{}/{}", tid, file));
    std::string line;
    std::getline(stream, line);
    return line;
}

// "D": in a way that no signal ends, as I/O does. "?": it is gone.
std::string state_of(pid_t tid)
{
    const auto line = line_of(tid, "stat");
    const auto name_end = line.rfind(')');
    return name_end != std::string::npos && name_end + 2 < line.size() ? line.substr(name_end + 2, 1) : "?";
}

// `moves` becomes the thread's id once the disk is open. `shared`: the page; nullptr: one of its own.
long move_page(const std::string& path, unsigned cpu, bool write, std::uint64_t sector, void* shared,
               std::atomic<pid_t>& moves)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    ::sched_setaffinity(0, sizeof(cpus), &cpus);
    const auto fd = wire::open_node(path, O_RDWR | O_DIRECT);
    if (!fd)
        return -fd.error();
    constexpr auto bytes = static_cast<std::size_t>(model::request_bytes);
    const std::unique_ptr<void, decltype(&std::free)> page(std::aligned_alloc(bytes, bytes), &std::free);
    const auto offset = static_cast<off_t>(sector * uapi::sector_size);
    moves.store(static_cast<pid_t>(::syscall(SYS_gettid)));
    void* data = shared != nullptr ? shared : page.get();
    return sys(write ? ::pwrite(fd->get(), data, bytes, offset) : ::pread(fd->get(), data, bytes, offset));
}

// What user_verbs.hpp calls the user, and another.
unsigned uid_of(model::Sender sender)
{
    return sender == model::Sender::root ? 0 : sender == model::Sender::owner ? user_id : user_id + 1;
}

// Runs `body` in a thread with the credentials of `sender`. Plain system calls change the thread's alone.
void as_sender(model::Sender sender, const std::function<void()>& body)
{
    std::thread([&] {
        const unsigned uid = uid_of(sender), gid = sender == model::Sender::root ? 0 : group_id;
        if (::syscall(SYS_setgroups, 0, nullptr) == 0 && ::syscall(SYS_setresgid, gid, gid, gid) == 0 &&
            ::syscall(SYS_setresuid, uid, uid, uid) == 0)
            body();
    }).join();
}

long open_disk(const Command& command, Fd& disk)
{
    const auto path = wire::block_path(command.dev);
    long result = -EIO;
    as_sender(command.sender, [&] {
        auto fd = wire::open_node(path, O_RDONLY);
        result = fd ? 0 : -fd.error();
        if (fd)
            disk = std::move(*fd);
    });
    return result;
}

// How many zones the report asks for that the tag has; 0: it has none.
unsigned asked_zones(const Command& command, const model::Device& device)
{
    const auto* request = model::request_of(device, command.queue, command.tag);
    return request != nullptr && request->report ? model::zones(device) - request->zone : 0U;
}

// What a COMMIT says of the request that the tag has; 0 if it has none.
std::int32_t result_of(const Command& command, unsigned tag, const model::Device& device)
{
    const auto* request = model::request_of(device, command.queue, tag);
    return request == nullptr ? 0 : model::committed_bytes(*request, command.result);
}

} // namespace

Subject::Subject()
{
    for (const auto sender : {model::Sender::owner, model::Sender::stranger}) {
        int id = -EIO;
        as_sender(sender, [&] { id = io_uring_register_personality(&driver_.ring().raw()); });
        if (id < 0)
            fail("credentials of an ordinary user", errno_text(-id));
        personalities_[sender] = static_cast<std::uint16_t>(id);
    }
}

// ADD_DEV of a zoned device without USER_COPY takes the id, finds that it may not be, and gives the id back.
bool is_free_id(Driver& driver, std::uint32_t dev)
{
    static DevInfo info; // whose address a command has that a stuck kernel never answers
    info = to_info({.dev_id = dev, .flags = Feature::zoned});
    const CtrlCmd cmd{.dev_id = dev, .len = sizeof(info), .addr = address(&info)};
    return driver.begin(CtrlNr::add_dev, cmd).wait(1s) == -EINVAL;
}

Subject::~Subject()
{
    for (const auto& [id, info] : devices_)
        interrupt(id);
    servers_.clear();
    open_disks_.clear();
    eventually(
        [this] {
            collect();
            return apps_.empty();
        },
        1s);
    for (const auto& [id, info] : devices_)
        Device(driver_, info).begin_del().wait(2s);
}

void Subject::send(const Command& command, Token token, const model::Device* before)
{
    const auto answer = [&](long result) { at_once_.push_back({token, result}); };
    if (model::is_control(command.verb))
        return send_control(command, token, before);
    switch (command.verb) {
    case Verb::open: {
        if (before->server != 0)
            return answer(sys(::open(wire::char_path(command.dev).c_str(), O_RDWR | O_CLOEXEC)));
        auto& server = servers_[command.dev];
        server = std::make_unique<ServerProcess>(devices_.at(command.dev));
        pids_.push_back(server->pid());
        long result = 0;
        eventually([&] { return (result = server->open()) != -EBUSY; }); // the last release is under way
        return answer(result);
    }
    case Verb::end_task:
        servers_.at(command.dev)->end_task(command.task);
        return answer(0);
    case Verb::kill:
        servers_.at(command.dev)->kill();
        servers_.erase(command.dev);
        return answer(0);
    case Verb::interrupt:
        interrupt(command.dev);
        return answer(0);
    case Verb::read:
    case Verb::write:
        if (before->requests.empty() && !before->flags.has(Feature::unprivileged_dev))
            set_io_timeout(device_of(command), short_limit); // which must mean nothing
        return start_app(command, token);
    case Verb::time_out:
        set_io_timeout(device_of(command), short_limit);
        start_app(command, token);
        servers_.at(command.dev)->await_death();
        servers_.erase(command.dev);
        return;
    case Verb::open_block: {
        ::chmod(wire::block_path(command.dev).c_str(), 0666); // the node lets everybody in
        Fd disk;
        const long result = open_disk(command, disk);
        if (result == 0)
            open_disks_.emplace(command.dev, std::move(disk));
        return answer(result);
    }
    case Verb::close_block:
        open_disks_.erase(open_disks_.find(command.dev));
        return answer(0);
    default:
        const auto result = send_io(command, token, *before);
        pause_after(command);
        if (result)
            answer(*result);
    }
}

void Subject::send(const std::vector<Command>& commands, Token first, const model::State& before)
{
    std::vector<std::optional<long>> answers(commands.size());
    std::map<std::pair<std::uint32_t, unsigned>, std::vector<std::size_t>> of_task; // by device and task
    for (std::size_t i = 0; i < commands.size(); ++i) {
        if (!model::is_control(commands[i].verb))
            of_task[{commands[i].dev, commands[i].task}].push_back(i);
    }
    std::vector<std::future<void>> tasks;
    for (const auto& entry : of_task) {
        tasks.push_back(std::async(std::launch::async, [&, these = entry.second] {
            for (const auto i : these)
                answers[i] = send_io(commands[i], first + static_cast<Token>(i),
                                     *model::find(before, commands[i].dev));
        }));
    }
    for (std::size_t i = 0; i < commands.size(); ++i) { // which workers of the kernel go on with
        if (model::is_control(commands[i].verb))
            send_control(commands[i], first + static_cast<Token>(i), model::find(before, commands[i].dev));
    }
    for (auto& task : tasks)
        task.get();
    for (std::size_t i = 0; i < commands.size(); ++i) {
        pause_after(commands[i]);
        if (answers[i])
            at_once_.push_back({first + static_cast<Token>(i), *answers[i]});
    }
}

// A FETCH_IO_CMDS that another task's ring is about to look at is not canceled: UBLK-BATCH-FETCH-011.
void Subject::pause_after(const Command& command)
{
    if (model::is_batch(command.verb))
        servers_.at(command.dev)->pause();
}

std::optional<long> Subject::send_io(const Command& command, Token token, const model::Device& before)
{
    const auto unless_sent = [](long sent) { return sent != 0 ? std::optional(sent) : std::nullopt; };
    if (command.verb == Verb::copy_in || command.verb == Verb::copy_out)
        return servers_.at(command.dev)->copy(command, asked_zones(command, before));
    if (model::is_batch(command.verb))
        return unless_sent(send_batch(command, token, before));
    IoCmd cmd{.q_id = command.queue, .tag = command.tag};
    if (command.verb == Verb::commit)
        cmd.result = result_of(command, command.tag, before);
    const bool registers = command.verb == Verb::register_buffer || command.verb == Verb::unregister_buffer;
    if (registers) // the index; one that no ring has, instead of one that others use
        cmd.addr = command.value < model::fixed_buffers ? command.value : 1000;
    // Whoever moves the payload himself needs no buffer, and may have none.
    const bool buffer = !registers && model::moves_payload(before) != (command.given == Given::good);
    const auto op = io_op(command.verb);
    return unless_sent(servers_.at(command.dev)
                           ->send(command.task, command.bare ? uapi::opcode_nr(op) : op, cmd, buffer, token));
}

long Subject::send_batch(const Command& command, Token token, const model::Device& before)
{
    BatchOrder order{.nr = command.verb == Verb::prep_tags     ? IoNr::prep_io_cmds
                           : command.verb == Verb::commit_tags ? IoNr::commit_io_cmds
                                                               : IoNr::fetch_io_cmds,
                     .queue = command.queue};
    for (const auto tag : command.tags) {
        order.tags.at(order.count) = tag;
        order.results.at(order.count++) = result_of(command, tag, before);
    }
    const bool wrong = command.given != Given::good;
    // To a device without BATCH_IO the flags would be a tag.
    order.addresses = before.flags.has(Feature::batch_io) && model::moves_payload(before) == wrong &&
                      command.verb != Verb::fetch_tags;
    order.zeros = wrong && !model::moves_payload(before);
    return servers_.at(command.dev)->send(command.task, order, token);
}

// Returns when the driver has the page, or has refused it: the thread sleeps in the I/O, or is done.
void Subject::start_app(const Command& command, Token token)
{
    const Device device = device_of(command);
    const auto cpu = queue_cpus(device, command.queue).front();
    const auto sector = page_distance * sectors_.size();
    sectors_[token] = sector;
    const auto moves = std::make_shared<std::atomic<pid_t>>(0);
    constexpr auto page_bytes = static_cast<std::size_t>(model::request_bytes);
    void* shared = command.page != 0 ? &memory_.bytes()[(command.page - 1U) * page_bytes] : nullptr;
    App app([moves, path = device.block_path(), cpu, write = command.verb == Verb::write, sector, shared] {
        return move_page(path, cpu, write, sector, shared, *moves);
    });
    const auto end = std::chrono::steady_clock::now() + 1s;
    for (int asleep = 0; asleep < 2 && !app.done() && std::chrono::steady_clock::now() < end;) {
        asleep = moves->load() != 0 && state_of(moves->load()) == "D" ? asleep + 1 : 0;
        ::usleep(200);
    }
    apps_.insert({token, std::move(app)});
    threads_[token] = moves;
}

std::string Subject::where_is(Token token)
{
    if (!threads_.contains(token))
        return "";
    const pid_t tid = threads_[token]->load();
    return fmt::format(", its thread: {} in {}", state_of(tid), line_of(tid, "wchan"));
}

void Subject::interrupt(std::uint32_t dev)
{
    for (auto& [token, sent] : sent_) {
        const auto verb = sent.command.verb;
        if (sent.command.dev == dev && (verb == Verb::start || verb == Verb::end_recovery))
            sent.pending.cancel();
    }
}

void Subject::take_answer(Token token, const Command& command)
{
    auto& buffers = *buffers_.at(token);
    if (buffers.payload != nullptr)
        std::memcpy(buffers.payload, buffers.sent.data() + buffers.path, buffers.len);
    if (command.verb != Verb::add)
        return;
    const auto& info = buffers.info;
    devices_[info.dev_id] = info;
    // What udev's rule does.
    if (Features::from_raw(info.flags).has(Feature::unprivileged_dev) &&
        ::chown(wire::char_path(info.dev_id).c_str(), user_id, group_id) != 0)
        fail("chown of ublkcN", errno_text(errno));
}

std::vector<Answered> Subject::collect()
{
    auto answers = std::exchange(at_once_, {});
    for (auto it = sent_.begin(); it != sent_.end();) {
        const auto result = it->second.pending.wait(0ms);
        if (!result) {
            ++it;
            continue;
        }
        if (*result == 0)
            take_answer(it->first, it->second.command);
        answers.push_back({it->first, *result});
        it = sent_.erase(it);
    }
    for (auto& [id, server] : servers_) {
        for (const auto& brought : server->completions())
            answers.push_back({static_cast<Token>(brought.done.user_data),
                               brought.done.res,
                               {brought.tags.begin(), brought.tags.begin() + brought.count},
                               brought.more});
    }
    for (auto it = apps_.begin(); it != apps_.end();) {
        if (!it->second.done()) { // asked once: it may be done a moment later
            ++it;
            continue;
        }
        answers.push_back({it->first, it->second.result()});
        it = apps_.erase(it);
    }
    return answers;
}

std::optional<Subject::Held> Subject::held(std::uint32_t dev, unsigned queue, unsigned tag)
{
    const auto desc = servers_.at(dev)->describe(queue, tag);
    if (desc.op() == static_cast<std::uint8_t>(IoOp::report_zones))
        return Held{.desc = desc};
    for (const auto& [token, sector] : sectors_) {
        if (desc.start_sector < sector || desc.start_sector >= sector + page_sectors)
            continue;
        return Held{.app = token,
                    .done_bytes = static_cast<unsigned>(desc.start_sector - sector) * uapi::sector_size,
                    .write = desc.op() == static_cast<std::uint8_t>(IoOp::write),
                    .bytes = desc.nr_sectors * uapi::sector_size,
                    .desc = desc};
    }
    return std::nullopt;
}

DevInfo Subject::info_now(std::uint32_t dev)
{
    return Device(driver_, devices_.at(dev)).info();
}

} // namespace conformance::lockstep
