// What the cases of the suite "server" share: whom they apply to, and time enough for an emulated machine.
#pragma once

#include "conformance/driver/case.hpp"
#include "conformance/server/subject.hpp"

namespace conformance {

inline CaseOption server_suite()
{
    return [](Case& c) {
        in_suite("server", true)(c);
        c.timeout = 180s;
    };
}

// Skips the case, with the reason, unless the server keeps what is written to it.
void needs_data();
void needs_writable(const Subject& subject);
void drop_caches();

} // namespace conformance
