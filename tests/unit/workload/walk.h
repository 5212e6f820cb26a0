// A tiny interpreter of traces: visits every step of every role for every work item, in the order of the role, and says
// which elements of which tensor it touches. No time passes.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <vector>

#include "trace/trace.h"

namespace memwall::test {

using Vars = std::array<std::int64_t, trace::kVars>;
using Visitor = std::function<void(const trace::Role&, const trace::Step&, const Vars&)>;

inline void walk_steps(const trace::Role& role, std::size_t begin, std::size_t end, std::size_t depth, Vars& vars,
                       const Visitor& visit) {
    for (std::size_t i = begin; i < end; ++i) {
        const trace::Step& step = role.steps[i];
        visit(role, step, vars);
        if (step.kind != trace::StepKind::loop_begin) continue;
        std::size_t close = i + 1;
        for (int open = 1;; ++close) {
            if (role.steps[close].kind == trace::StepKind::loop_begin) ++open;
            if (role.steps[close].kind == trace::StepKind::loop_end && --open == 0) break;
        }
        const std::int64_t trips = step.turns(vars);
        std::int64_t& counter = vars[trace::kWorkDims + depth];
        for (counter = 0; counter < trips; ++counter) walk_steps(role, i + 1, close, depth + 1, vars, visit);
        counter = 0;
        i = close;
    }
}

/// The variables of each work item of a CTA, but for the role's instance.
inline std::vector<Vars> items_of(const trace::Kernel& kernel, std::int64_t cta) {
    const trace::WorkGrid& work = kernel.work;
    const std::int64_t clusters = kernel.ctas / work.cluster, unit = cta / work.cluster;
    const int rank = static_cast<int>(cta % work.cluster);
    std::vector<Vars> items;
    const auto add = [&](std::int64_t index) -> Vars& {
        Vars& vars = items.emplace_back();
        const auto at = work.coordinates(index, rank);
        std::copy(at.begin(), at.end(), vars.begin());
        vars[trace::kVarCta] = cta;
        vars[trace::kVarClusterRank] = rank;
        return vars;
    };
    if (work.in_pieces()) {
        for (std::int64_t i = 0; const auto piece = work.piece(unit, clusters, i); ++i) {
            piece->put_into(add(piece->tile));
        }
        return items;
    }
    for (std::int64_t item = unit; item < work.cluster_items(); item += clusters) {
        add(item);
        if (!work.persistent) break;
    }
    return items;
}

inline void walk(const trace::Kernel& kernel, const Visitor& visit) {
    for (std::int64_t cta = 0; cta < kernel.ctas; ++cta) {
        for (Vars vars : items_of(kernel, cta)) {
            for (const trace::Role& role : kernel.roles) {
                for (int instance = 0; instance < role.instances; ++instance) {
                    vars[trace::kVarInstance] = role.first + instance;
                    walk_steps(role, 0, role.steps.size(), 0, vars, visit);
                }
            }
        }
    }
}

/// How often each element of a tensor is touched by steps of `kind` (row-major over its shape). A multicast load is
/// counted for the CTA that asks, as the whole box that it gets.
inline std::vector<int> touched(const trace::Trace& trace, const trace::Kernel& kernel, trace::StepKind kind,
                                int tensor) {
    const trace::Tensor& t = trace.tensors[static_cast<std::size_t>(tensor)];
    std::size_t elements = 1;
    for (int d = 0; d < t.rank; ++d) elements *= static_cast<std::size_t>(t.shape[static_cast<std::size_t>(d)]);
    std::vector<int> count(elements, 0);
    walk(kernel, [&](const trace::Role&, const trace::Step& step, const Vars& vars) {
        if (step.kind != kind || step.tensor != tensor) return;
        std::array<std::int64_t, trace::kMaxRank> at{}, end{};
        for (std::size_t d = 0; d < static_cast<std::size_t>(t.rank); ++d) {
            at[d] = step.origin[d].at(vars);
            end[d] = std::min(at[d] + step.box[d], t.shape[d]);
            if (at[d] >= end[d]) return;
        }
        const auto from = at;
        for (;;) {
            std::int64_t index = 0;
            for (std::size_t d = 0; d < static_cast<std::size_t>(t.rank); ++d) index = index * t.shape[d] + at[d];
            ++count[static_cast<std::size_t>(index)];
            std::size_t d = static_cast<std::size_t>(t.rank);
            while (d > 0 && ++at[d - 1] == end[d - 1]) {
                at[d - 1] = from[d - 1];
                --d;
            }
            if (d == 0) return;
        }
    });
    return count;
}

inline bool all_are(const std::vector<int>& counts, int wanted) {
    return std::all_of(counts.begin(), counts.end(), [&](int c) { return c == wanted; });
}

inline int tensor_named(const trace::Trace& trace, const std::string& name) {
    for (std::size_t i = 0; i < trace.tensors.size(); ++i) {
        if (trace.tensors[i].name == name) return static_cast<int>(i);
    }
    return -1;
}

}  // namespace memwall::test
