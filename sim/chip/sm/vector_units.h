// The FP32 lanes and the special-function units of one SM, shared by the steps that are at work on them.
//
// Each warpgroup has a warp at every scheduler, and a scheduler gives its warps turns: steps that run at the same time
// each get an even share of either unit, and go at the pace of the one that holds them up. Two warpgroups that
// exponentiate together take as long as one after the other, and end together; what that does to attention is in
// docs/decisions.md.
#pragma once

#include <cstdint>
#include <vector>

namespace memwall::chip {

class VectorUnits {
public:
    struct Step {
        std::uint32_t who;       ///< of the caller
        double fp32_ps, sfu_ps;  ///< work left, as the time that it takes alone
        std::int64_t began_ps;
        std::int64_t earliest_ps;  ///< not done before: what else it waits for
    };

    /// A step comes in at `now_ps`, until which the others have been advanced.
    void begin(const Step& step) { steps_.push_back(step); }

    /// Works until `now_ps`, which is no later than next_ps(), and takes out the steps that are done, as `done(step)`.
    template <class Done>
    void advance(std::int64_t now_ps, Done&& done) {
        const auto [fp32, sfu] = sharers();
        const auto passed = static_cast<double>(now_ps - since_ps_);
        since_ps_ = now_ps;
        for (std::size_t i = 0; i < steps_.size();) {
            Step& step = steps_[i];
            if (step.fp32_ps > 0) step.fp32_ps = left(step.fp32_ps, passed, fp32);
            if (step.sfu_ps > 0) step.sfu_ps = left(step.sfu_ps, passed, sfu);
            if (step.fp32_ps > 0 || step.sfu_ps > 0) {
                ++i;
                continue;
            }
            const Step finished = step;
            steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(i));  // in order of arrival; there are few
            done(finished);
        }
    }

    [[nodiscard]] bool idle() const { return steps_.empty(); }

    /// When the first step is through with a unit, if none comes in before. Not when idle.
    [[nodiscard]] std::int64_t next_ps() const {
        const auto [fp32, sfu] = sharers();
        double soonest = 1e18;
        for (const Step& step : steps_) {
            const double fp32_ps = step.fp32_ps * fp32, sfu_ps = step.sfu_ps * sfu;
            // Alone, only the end of the longer one matters; beside others, the end of either gives them more.
            const bool either = steps_.size() > 1 && fp32_ps > 0 && sfu_ps > 0;
            const double ends = either ? (fp32_ps < sfu_ps ? fp32_ps : sfu_ps) : (fp32_ps > sfu_ps ? fp32_ps : sfu_ps);
            if (ends < soonest) soonest = ends;
        }
        return since_ps_ + static_cast<std::int64_t>(soonest) + 1;
    }

private:
    struct Sharers {
        double fp32, sfu;
    };
    [[nodiscard]] Sharers sharers() const {
        Sharers n{0, 0};
        for (const Step& step : steps_) {
            n.fp32 += step.fp32_ps > 0 ? 1 : 0;
            n.sfu += step.sfu_ps > 0 ? 1 : 0;
        }
        return n;
    }
    static double left(double work_ps, double passed_ps, double sharers) {
        constexpr double kNothing = 1;  // a picosecond: next_ps() rounds to whole ones
        const double rest = work_ps - passed_ps / sharers;
        return rest < kNothing ? 0 : rest;
    }

    std::vector<Step> steps_;
    std::int64_t since_ps_ = 0;
};

}  // namespace memwall::chip
