#include "chip/sm/program.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "chip/sm/cta.h"

namespace memwall::chip {

namespace {

int round_up(std::int64_t value, int unit) {
    return static_cast<int>((value + unit - 1) / unit * unit);
}

RoleProgram match_loops(const trace::Role& role, const std::string& where) {
    RoleProgram program{&role, std::vector<std::uint16_t>(role.steps.size(), 0)};
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < role.steps.size(); ++i) {
        if (role.steps[i].kind == trace::StepKind::loop_begin) {
            open.push_back(i);
            if (open.size() > trace::kLoopDepth) {
                throw InputError(where, fmt::format("loops nested {} deep", open.size()),
                                 fmt::format("at most {}", trace::kLoopDepth));
            }
        } else if (role.steps[i].kind == trace::StepKind::loop_end) {
            if (open.empty()) throw InputError(where, "a loop_end without loop_begin", "matched loops");
            program.match[i] = static_cast<std::uint16_t>(open.back());
            program.match[open.back()] = static_cast<std::uint16_t>(i);
            open.pop_back();
        }
    }
    if (!open.empty()) throw InputError(where, "a loop_begin without loop_end", "matched loops");
    return program;
}

void check_fits(const Program& p, const trace::Kernel& k, const device::SmParams& sm) {
    const std::string where = "kernel " + k.name;
    if (k.smem_bytes > sm.smem_per_cta_max_bytes) {
        throw InputError(where, fmt::format("{} bytes of shared memory per CTA", k.smem_bytes),
                         fmt::format("at most {} (sm.smem_per_cta_max_bytes)", sm.smem_per_cta_max_bytes));
    }
    if (p.threads > sm.max_threads || p.registers > sm.registers) {
        throw InputError(where,
                         fmt::format("{} threads with {} registers each = {} registers per CTA", p.threads,
                                     k.registers_per_thread, p.registers),
                         fmt::format("at most {} threads and {} registers per SM", sm.max_threads, sm.registers));
    }
    if (k.rings.size() > kMaxRings)
        throw InputError(where, fmt::format("{} rings", k.rings.size()), fmt::format("at most {}", kMaxRings));
    for (const auto& ring : k.rings) {
        if (ring.stages < 1 || ring.stages > kMaxStages) {
            throw InputError(where + ": ring " + ring.name, fmt::format("{} stages", ring.stages),
                             fmt::format("1 to {}", kMaxStages));
        }
    }
    if (k.work.cluster > ClusterRecord::kMaxCtas) {
        throw InputError(where, fmt::format("a cluster of {}", k.work.cluster),
                         fmt::format("at most {}", ClusterRecord::kMaxCtas));
    }
}

int occupancy(const Program& p, const trace::Kernel& k, const device::SmParams& sm) {
    int ctas = std::min({sm.max_ctas, k.ctas_per_sm_limit, sm.max_threads / p.threads, sm.max_warps / p.warps});
    if (p.registers > 0) ctas = std::min(ctas, sm.registers / p.registers);
    if (p.smem_bytes > 0) ctas = std::min(ctas, sm.smem_bytes / p.smem_bytes);
    return std::max(ctas, 1);
}

}  // namespace

Program compile(const trace::Trace& trace, std::size_t index, const device::Device& device) {
    const trace::Kernel& k = trace.kernels[index];
    const auto& sm = device.sm;
    Program p{&k, static_cast<std::uint32_t>(index), {}, std::vector<int>(k.rings.size(), 1), 0, 0, 0, 0, 0, false};
    for (const auto& role : k.roles) {
        p.roles.push_back(match_loops(role, "kernel " + k.name + ", role " + role.name));
        p.warps += role.instances * role.warps;
        for (const auto& step : role.steps) {
            if (step.kind == trace::StepKind::load && step.multicast_ctas > 1) {
                auto& group = p.ring_group[static_cast<std::size_t>(step.ring)];
                group = std::max(group, step.multicast_ctas);
            }
            p.triggers = p.triggers || step.kind == trace::StepKind::trigger_dependents;
        }
    }
    // Rings with a multicast in either direction of a cluster are released by all its CTAs.
    for (std::size_t r = 0; r < k.rings.size(); ++r) {
        if (p.ring_group[r] > 1) p.ring_group[r] = k.work.cluster;
    }
    p.threads = p.warps * 32;
    p.registers =
        p.warps * round_up(static_cast<std::int64_t>(k.registers_per_thread) * 32, sm.register_allocation_unit);
    p.smem_bytes = round_up(k.smem_bytes + sm.smem_reserved_per_cta_bytes, sm.smem_allocation_unit_bytes);
    check_fits(p, k, sm);
    p.ctas_per_sm = occupancy(p, k, sm);
    return p;
}

}  // namespace memwall::chip
