#include "vm/lines.hpp"

#include <gtest/gtest.h>

using vm::Line;
using vm::LineSplitter;

TEST(LineSplitter, joins_a_line_that_comes_in_pieces)
{
    LineSplitter splitter;
    splitter.push("he");
    EXPECT_EQ(splitter.next(), std::nullopt);
    splitter.push("llo\nwor");
    EXPECT_EQ(splitter.next(), (Line{"hello", false}));
    EXPECT_EQ(splitter.next(), std::nullopt);
    splitter.push("ld\n");
    EXPECT_EQ(splitter.next(), (Line{"world", false}));
}

TEST(LineSplitter, keeps_empty_lines_and_drops_carriage_returns)
{
    LineSplitter splitter;
    splitter.push("\na\r\n\r\nb\rc\n");
    EXPECT_EQ(splitter.next(), (Line{"", false}));
    EXPECT_EQ(splitter.next(), (Line{"a", false}));
    EXPECT_EQ(splitter.next(), (Line{"", false}));
    EXPECT_EQ(splitter.next(), (Line{"b\rc", false}));
    EXPECT_EQ(splitter.next(), std::nullopt);
}

TEST(LineSplitter, passes_a_line_of_exactly_the_limit)
{
    LineSplitter splitter;
    splitter.push(std::string(vm::max_line_bytes, 'x') + "\n");
    EXPECT_EQ(splitter.next(), (Line{std::string(vm::max_line_bytes, 'x'), false}));
}

TEST(LineSplitter, cuts_and_flags_a_longer_line_that_came_at_once)
{
    LineSplitter splitter;
    splitter.push(std::string(vm::max_line_bytes + 1, 'x') + "\nnext\n");
    EXPECT_EQ(splitter.next(), (Line{std::string(vm::max_line_bytes, 'x'), true}));
    EXPECT_EQ(splitter.next(), (Line{"next", false}));
}

TEST(LineSplitter, an_endless_line_costs_bounded_memory_and_ends_flagged)
{
    LineSplitter splitter;
    const std::string piece(64 * 1024, 'y');
    for (int i = 0; i < 64; ++i) {
        splitter.push(piece);
        EXPECT_EQ(splitter.next(), std::nullopt);
        EXPECT_LE(splitter.buffered(), vm::max_line_bytes);
    }
    splitter.push("end\nnext\n");
    const auto line = splitter.next();
    ASSERT_TRUE(line);
    EXPECT_TRUE(line->overlong);
    EXPECT_EQ(line->text, std::string(vm::max_line_bytes, 'y'));
    EXPECT_EQ(splitter.next(), (Line{"next", false}));
}

TEST(LineSplitter, clear_forgets_half_lines_and_the_overlong_mark)
{
    LineSplitter splitter;
    splitter.push(std::string(vm::max_line_bytes + 1, 'x'));
    EXPECT_EQ(splitter.next(), std::nullopt);
    splitter.clear();
    splitter.push("fresh\n");
    EXPECT_EQ(splitter.next(), (Line{"fresh", false}));
}
