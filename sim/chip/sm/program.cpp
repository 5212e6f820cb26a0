#include "chip/sm/program.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "chip/sm/cta.h"
#include "device/occupancy.h"

namespace memwall::chip {

namespace {

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
    if (p.smem_bytes > sm.smem_bytes) {
        throw InputError(where, fmt::format("{} bytes of shared memory per CTA, as allocated", p.smem_bytes),
                         fmt::format("at most {} (sm.smem_bytes)", sm.smem_bytes));
    }
    if (p.threads > sm.max_threads || p.warps > sm.max_warps || p.registers > sm.registers) {
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
    const device::CtaResources cta = device::allocated(sm, p.warps, k.registers_per_thread, k.smem_bytes);
    p.threads = cta.threads;
    p.registers = cta.registers;
    p.smem_bytes = cta.smem_bytes;
    check_fits(p, k, sm);
    p.ctas_per_sm = std::min(k.ctas_per_sm_limit, device::occupancy(sm, cta));
    return p;
}

}  // namespace memwall::chip
