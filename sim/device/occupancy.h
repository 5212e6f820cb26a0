// How many CTAs an SM holds.
#pragma once

#include <cstdint>

#include "device/device.h"

namespace memwall::device {

/// What a CTA takes of its SM, as allocated.
struct CtaResources {
    int threads, warps, registers, smem_bytes;
};

/// Resources of a CTA with so many `warps`, rounded up to the SM's units: registers by warp, shared memory with what
/// the system reserves (CUDA occupancy calculator).
CtaResources allocated(const SmParams& sm, int warps, int registers_per_thread, std::int64_t smem_bytes);

/// CTAs like `cta` that are resident on an SM at a time; 0 when not one fits.
int occupancy(const SmParams& sm, const CtaResources& cta);

}  // namespace memwall::device
