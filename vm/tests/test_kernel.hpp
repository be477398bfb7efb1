// The kernel that tests boot: the newest packaged one, from the cache or through apt.
#pragma once

#include "vm/kernel.hpp"

namespace vm::testing {

// Looked up once for the whole program.
inline const Result<Kernel>& test_kernel()
{
    static const Result<Kernel> kernel = []() -> Result<Kernel> {
        auto store = KernelStore::open({}, {});
        if (!store)
            return std::unexpected(store.error());
        const auto specs = store->resolve("latest");
        if (!specs)
            return std::unexpected(specs.error());
        return store->fetch(specs->front());
    }();
    return kernel;
}

} // namespace vm::testing
