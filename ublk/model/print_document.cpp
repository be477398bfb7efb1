// Prints the page README.md: `make model-page`.
#include "ublk/model/document.hpp"

#include <cstdio>
#include <fmt/format.h>

int main()
{
    fmt::print("{}", ublk::model::document());
    return 0;
}
