#include "conformance/driver/integrity_verbs.hpp"

namespace conformance {

Params integrity_params(const ublk::uapi::ParamIntegrity& block)
{
    Params params = basic_params();
    params.types |= ublk::uapi::ParamTypes(ParamType::integrity).raw();
    params.integrity = block;
    return params;
}

} // namespace conformance
