// A kernel made ready to run: loop ends matched, resources and multicast groups worked out, limits checked.
#pragma once

#include <cstdint>
#include <vector>

#include "device/device.h"
#include "trace/trace.h"

namespace memwall::chip {

struct RoleProgram {
    const trace::Role* role;
    std::vector<std::uint16_t> match;  ///< by step: the other end of a loop
};

struct Program {
    const trace::Kernel* kernel;
    std::uint32_t index;
    std::vector<RoleProgram> roles;
    std::vector<int> ring_group;                ///< CTAs that share a ring's loads by multicast
    int threads, warps, registers, smem_bytes;  ///< of one CTA, as allocated
    int ctas_per_sm;                            ///< occupancy
    bool triggers;                              ///< has trigger_dependents
};

/// Throws InputError, with the arithmetic, when one CTA does not fit an SM or the kernel breaks a limit of the model.
Program compile(const trace::Trace& trace, std::size_t kernel, const device::Device& device);

}  // namespace memwall::chip
