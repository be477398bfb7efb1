// What the cases of the suites "server" and "integrity" share. Suite "server": whom they apply to, and time
// enough for an emulated machine.
#pragma once

#include "conformance/driver/case.hpp"
#include "conformance/server/subject.hpp"

namespace conformance {

inline const CaseOption server_suite = [](Case& c) {
    in_suite("server", true)(c);
    c.timeout = 180s;
};
inline const CaseOption integrity_suite = in_suite("integrity");

// Skips the case, with the reason, unless the server keeps what is written to it.
void needs_data();
void needs_writable(const Subject& subject);
void drop_caches();

} // namespace conformance
