// Do the roles of a kernel agree on how often each ring goes round?

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "trace/check.h"

namespace memwall::trace {

namespace {

using Vars = std::array<std::int64_t, kVars>;
using Counts = std::vector<std::int64_t>;  // by ring

/// How often a role executes steps of one kind, by ring, for one work item. A loop whose inner trip counts do not
/// depend on its counter is multiplied out, so that the cost does not grow with the trip counts.
class StepCounter {
public:
    StepCounter(const Role& role, StepKind kind, std::size_t rings) : role_(role), kind_(kind), rings_(rings) {}

    Counts count(Vars vars) {
        Counts total(rings_, 0);
        block(0, role_.steps.size(), 0, vars, 1, total);
        return total;
    }

private:
    void block(std::size_t begin, std::size_t end, std::size_t depth, Vars& vars, std::int64_t times, Counts& total) {
        for (std::size_t i = begin; i < end; ++i) {
            const Step& step = role_.steps[i];
            if (step.kind == kind_) total[static_cast<std::size_t>(step.ring)] += times;
            if (step.kind != StepKind::loop_begin) continue;
            const std::size_t close = end_of(i);
            loop(i, close, depth, vars, times, total);
            i = close;
        }
    }

    void loop(std::size_t open, std::size_t close, std::size_t depth, Vars& vars, std::int64_t times, Counts& total) {
        const Step& step = role_.steps[open];
        const std::int64_t trips = step.turns(vars);
        if (trips <= 0) return;
        std::int64_t& counter = vars[kWorkDims + depth];
        counter = 0;
        if (!depends(open + 1, close, kWorkDims + depth)) {
            block(open + 1, close, depth + 1, vars, times * trips, total);
        } else {
            for (; counter < trips; ++counter) block(open + 1, close, depth + 1, vars, times, total);
        }
        counter = 0;
    }

    /// Does a trip count between the two steps depend on the variable?
    [[nodiscard]] bool depends(std::size_t begin, std::size_t end, std::size_t variable) const {
        return std::any_of(role_.steps.begin() + static_cast<std::ptrdiff_t>(begin),
                           role_.steps.begin() + static_cast<std::ptrdiff_t>(end), [&](const Step& step) {
                               if (step.kind != StepKind::loop_begin) return false;
                               return step.count.coefficient[variable] != 0 ||
                                      (step.count_limit && step.count_limit->coefficient[variable] != 0);
                           });
    }

    [[nodiscard]] std::size_t end_of(std::size_t open) const {
        int depth = 0;
        for (std::size_t i = open;; ++i) {
            if (role_.steps[i].kind == StepKind::loop_begin) ++depth;
            if (role_.steps[i].kind == StepKind::loop_end && --depth == 0) return i;
        }
    }

    const Role& role_;
    StepKind kind_;
    std::size_t rings_;
};

/// Under Stream-K, every piece but those that are whole tiles, and one that is. Every one that a table deals.
std::vector<Vars> pieces(const Kernel& kernel) {
    std::vector<Vars> found;
    const std::int64_t units = kernel.ctas / kernel.work.cluster;
    for (std::int64_t unit = 0; unit < units; ++unit) {
        std::int64_t whole = 0;
        for (std::int64_t i = 0; whole == 0 || i < 2; ++i) {
            const auto piece = kernel.work.piece(unit, units, i);
            if (!piece) break;
            whole += kernel.work.dealt.empty() && piece->steps == kernel.work.stream_steps ? 1 : 0;
            Vars& vars = found.emplace_back();
            const auto at = kernel.work.coordinates(piece->tile, 0);
            std::copy(at.begin(), at.end(), vars.begin());
            piece->put_into(vars);
        }
    }
    return found;
}

/// Variables at which trip counts, which are affine and clipped, can differ: both ends of every dimension.
std::vector<Vars> corners(const Kernel& kernel) {
    const WorkGrid& work = kernel.work;
    if (work.in_pieces()) return pieces(kernel);
    std::vector<Vars> found = {{}};
    for (std::size_t d = 0; d < kWorkDims; ++d) {
        const std::int64_t last = work.extent[d] - 1;
        if (last == 0) continue;
        const auto before = found;
        for (auto corner : before) {
            corner[d] = last;
            found.push_back(corner);
        }
    }
    return found;
}

}  // namespace

void check_ring_balance(const Kernel& kernel) {
    const std::size_t rings = kernel.rings.size();
    for (const Vars& vars : corners(kernel)) {
        Counts committed(rings, 0);
        for (const Role& role : kernel.roles) {
            const Counts mine = StepCounter(role, StepKind::commit, rings).count(vars);
            for (std::size_t r = 0; r < rings; ++r) committed[r] += mine[r];
        }
        for (const Role& role : kernel.roles) {
            const Counts waited = StepCounter(role, StepKind::wait_full, rings).count(vars);
            for (std::size_t r = 0; r < rings; ++r) {
                const auto reads = [&](const Step& s) {
                    return s.kind == StepKind::wait_full && s.ring == static_cast<int>(r);
                };
                const bool reader = std::any_of(role.steps.begin(), role.steps.end(), reads);
                if (!reader || waited[r] == committed[r]) continue;
                throw InputError(fmt::format("kernel {}, role {}, work item ({}, {}, {}, {})", kernel.name, role.name,
                                             vars[0], vars[1], vars[2], vars[3]),
                                 fmt::format("{} waits for fills of ring '{}'", waited[r], kernel.rings[r].name),
                                 fmt::format("{}: as many as are committed", committed[r]));
            }
        }
    }
}

}  // namespace memwall::trace
