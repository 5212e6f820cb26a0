#include "device/occupancy.h"

#include <algorithm>

namespace memwall::device {

namespace {

int round_up(std::int64_t value, int unit) {
    return static_cast<int>((value + unit - 1) / unit * unit);
}

}  // namespace

CtaResources allocated(const SmParams& sm, int warps, int registers_per_thread, std::int64_t smem_bytes) {
    return {warps * 32, warps,
            warps * round_up(static_cast<std::int64_t>(registers_per_thread) * 32, sm.register_allocation_unit),
            round_up(smem_bytes + sm.smem_reserved_per_cta_bytes, sm.smem_allocation_unit_bytes)};
}

int occupancy(const SmParams& sm, const CtaResources& cta) {
    int ctas = std::min({sm.max_ctas, sm.max_threads / cta.threads, sm.max_warps / cta.warps});
    if (cta.registers > 0) ctas = std::min(ctas, sm.registers / cta.registers);
    if (cta.smem_bytes > 0) ctas = std::min(ctas, sm.smem_bytes / cta.smem_bytes);
    return ctas;
}

}  // namespace memwall::device
