#include "vm/console.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;
using vm::Console;

TEST(Console, keeps_everything_while_it_fits)
{
    Console console;
    const std::string all(Console::head_bytes + Console::tail_bytes, 'a');
    console.push(std::string_view(all).substr(0, 1000));
    console.push(std::string_view(all).substr(1000));
    EXPECT_EQ(console.text(), all);
}

TEST(Console, keeps_the_beginning_and_the_end_of_a_flood_and_says_what_is_missing)
{
    Console console;
    console.push("beginning\n");
    const std::string noise(10'000, 'n');
    for (int i = 0; i < 1000; ++i)
        console.push(noise);
    console.push("end\n");
    const auto text = console.text();
    EXPECT_THAT(text, StartsWith("beginning\n"));
    EXPECT_THAT(text, EndsWith("end\n"));
    EXPECT_THAT(text, HasSubstr("bytes left out"));
    EXPECT_LT(text.size(), Console::head_bytes + Console::tail_bytes + 100);
    EXPECT_EQ(console.total_bytes(), 10'000'014U);
}

TEST(Console, sees_a_panic_that_comes_in_pieces_and_its_end)
{
    Console console;
    console.push("[    1.0] fine\n[    2.0] Kernel panic - not sync");
    EXPECT_EQ(console.panic(), "");
    console.push("ing: sysrq triggered crash\r\n[    2.0] CPU: 0\r\n");
    EXPECT_EQ(console.panic(), "Kernel panic - not syncing: sysrq triggered crash");
    EXPECT_FALSE(console.panic_complete());
    console.push("[    3.0] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n");
    EXPECT_TRUE(console.panic_complete());
    EXPECT_EQ(console.panic(), "Kernel panic - not syncing: sysrq triggered crash");
}

TEST(Console, a_line_without_an_end_costs_bounded_memory_and_hides_no_later_panic)
{
    Console console;
    console.push(std::string(1'000'000, 'x'));
    console.push("\nKernel panic - not syncing: later\n");
    EXPECT_EQ(console.panic(), "Kernel panic - not syncing: later");
}

TEST(Console, clear_forgets_the_panic)
{
    Console console;
    console.push("Kernel panic - not syncing: x\nhalf a li");
    console.clear();
    EXPECT_EQ(console.panic(), "");
    EXPECT_EQ(console.text(), "");
    EXPECT_EQ(console.total_bytes(), 0U);
}
