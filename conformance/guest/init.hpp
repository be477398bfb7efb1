// The machine's init: sets the machine up, says that it is ready, and runs the cases that the host names.
#pragma once

namespace conformance {

int be_init(); // returns only if the machine cannot be used; the kernel then panics, which the host sees

} // namespace conformance
