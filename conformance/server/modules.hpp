// Kernel modules that a few cases need: they come along in the image and are loaded by the case, so that all
// others run on a kernel without them.
#pragma once

#include <string>

namespace conformance {

// Loads the module and what it needs; skips the case if this kernel has none, or cannot load it.
void need_module(const std::string& name);

} // namespace conformance
