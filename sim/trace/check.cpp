#include "trace/check.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace memwall::trace {

namespace {

constexpr int kMaxCluster = 16;  // CTAs of a cluster, non-portable size included (CUDA programming guide)
constexpr int kMaxMmaN = 256;    // n of a wgmma

std::string range(std::size_t count) {
    return count == 0 ? "none exist" : fmt::format("0 to {}", count - 1);
}

void require(bool holds, const std::string& where, const std::string& found, const std::string& allowed) {
    if (!holds) throw InputError(where, found, allowed);
}

void check_tensor(const Tensor& t) {
    const std::string where = "tensor " + t.name;
    require(t.rank >= 1 && t.rank <= kMaxRank, where, fmt::format("{} dimensions", t.rank),
            fmt::format("1 to {}", kMaxRank));
    for (std::size_t d = 0; d < static_cast<std::size_t>(t.rank); ++d) {
        require(t.shape[d] > 0 && t.stride_bytes[d] > 0, where,
                fmt::format("extent {} and stride {} of dimension {}", t.shape[d], t.stride_bytes[d], d), "positive");
    }
    const std::int64_t inner = t.shape[static_cast<std::size_t>(t.rank) - 1];
    require(inner * bits_of(t.dtype) % 8 == 0, where,
            fmt::format("{} elements of {} in its last dimension", inner, name_of(t.dtype)), "whole bytes");
    if (t.paged_dim < 0) return;
    require(t.paged_dim < t.rank - 1 && t.page_extent > 0, where,
            fmt::format("pages of {} along dimension {}", t.page_extent, t.paged_dim),
            fmt::format("positive pages along a dimension below {}", t.rank - 1));
}

void check_grid(const Kernel& k) {
    const std::string where = "kernel " + k.name;
    const WorkGrid& w = k.work;
    for (std::size_t d = 0; d < kWorkDims; ++d) {
        require(w.extent[d] > 0, where, fmt::format("{} work items along dimension {}", w.extent[d], d), "1 or more");
    }
    require(w.cluster >= 1 && w.cluster <= kMaxCluster, where, fmt::format("a cluster of {}", w.cluster),
            fmt::format("1 to {}", kMaxCluster));
    require(w.cluster_dim >= 0 && w.cluster_dim < kWorkDims, where, fmt::format("cluster dimension {}", w.cluster_dim),
            range(kWorkDims));
    require(w.panel >= 0, where, fmt::format("a panel of {}", w.panel), "0 or more");
    require(k.ctas >= 1 && k.ctas % w.cluster == 0, where, fmt::format("{} CTAs", k.ctas),
            fmt::format("a positive multiple of the cluster of {}", w.cluster));
    const std::int64_t needed = w.cluster_items() * w.cluster;
    require(!w.dynamic || (w.persistent && !w.blocked && w.cluster == 1), where, "items taken one by one",
            "a persistent kernel without clusters or blocks");
    require(w.stream_steps == 0 || (w.stream_steps > 0 && w.persistent && !w.dynamic && !w.blocked && w.extent[3] == 1),
            where, fmt::format("tiles of {} streamed steps", w.stream_steps),
            "a persistent kernel without a split, blocks or items taken one by one");
    require(w.dealt.empty() ||
                (w.dealt.size() == static_cast<std::size_t>(k.ctas) && w.persistent && !w.dynamic && !w.blocked &&
                 w.cluster == 1 && w.stream_steps == 0 && w.extent[2] == 1 && w.extent[3] == 1),
            where, fmt::format("work dealt to {} CTAs", w.dealt.size()),
            "an entry for each CTA of a persistent kernel of two dimensions, without clusters");
    for (const auto& mine : w.dealt) {
        for (const Piece& piece : mine) {
            require(piece.tile >= 0 && piece.tile < w.items(), where, fmt::format("tile {} dealt", piece.tile),
                    range(static_cast<std::size_t>(w.items())));
            require(piece.steps >= 0 && piece.rest >= 0, where,
                    fmt::format("a piece of {} steps and {} more dealt", piece.steps, piece.rest), "0 or more of each");
        }
    }
    require(w.persistent || k.ctas >= needed, where, fmt::format("{} CTAs for {} work items", k.ctas, needed),
            "a CTA for each, or a persistent kernel");
    require(!k.roles.empty(), where, "no roles", "1 or more");
}

void check_rings(const Kernel& k) {
    std::int64_t shared = 0;
    for (std::size_t r = 0; r < k.rings.size(); ++r) {
        const Ring& ring = k.rings[r];
        const std::string where = fmt::format("kernel {}, ring {}", k.name, ring.name);
        require(ring.stages >= 1 && ring.stage_bytes >= 0, where,
                fmt::format("{} stages of {} bytes", ring.stages, ring.stage_bytes), "1 or more stages");
        if (!ring.registers) shared += ring.stages * ring.stage_bytes;
        int fillers = 0, readers = 0, group = 1;
        for (const Role& role : k.roles) {
            const auto uses = [&](StepKind kind) {
                return std::any_of(role.steps.begin(), role.steps.end(),
                                   [&](const Step& s) { return s.kind == kind && s.ring == static_cast<int>(r); });
            };
            fillers += uses(StepKind::acquire) ? role.instances : 0;
            readers += uses(StepKind::release) ? role.instances : 0;
            for (const Step& s : role.steps) {
                const bool into = s.kind == StepKind::load && s.ring == static_cast<int>(r);
                if (into && s.multicast_ctas > 1) group = k.work.cluster;
            }
        }
        require(fillers <= 1, where, fmt::format("{} role instances that acquire its stages", fillers), "one");
        require(readers == 0 || ring.consumers == readers * group, where, fmt::format("{} consumers", ring.consumers),
                fmt::format("{}: {} role instances release it in each of {} CTAs", readers * group, readers, group));
    }
    require(shared <= k.smem_bytes, "kernel " + k.name, fmt::format("{} bytes of shared memory", k.smem_bytes),
            fmt::format("at least the {} bytes of its rings", shared));
}

/// Walks the steps of a role once, in text order: what a loop leaves must be what it found, so one pass says it all.
class RoleCheck {
public:
    RoleCheck(const Trace& trace, const Kernel& kernel, const Role& role)
        : trace_(trace), k_(kernel), role_(role), rings_(kernel.rings.size()) {}

    void run() {
        for (at_ = 0; at_ < role_.steps.size(); ++at_) check_step(role_.steps[at_]);
        at_ = role_.steps.size();
        require(open_.empty(), where(), "a loop_begin without its loop_end", "matched loops");
        for (std::size_t r = 0; r < rings_.size(); ++r) {
            require(!rings_[r].acquired, where(), fmt::format("ring '{}' acquired and not committed", k_.rings[r].name),
                    "a commit for every acquire");
            require(rings_[r].held == 0, where(),
                    fmt::format("{} stages of ring '{}' still held", rings_[r].held, k_.rings[r].name),
                    "a release for every wait_full");
        }
    }

private:
    struct RingUse {
        bool acquired = false;
        std::int64_t loaded = 0;  // bytes since the acquire
        std::int64_t held = 0;
    };
    struct Open {
        std::vector<RingUse> rings;  // where the loop began
        std::int64_t turns;          // of it, as far as they are the same everywhere
    };

    [[nodiscard]] std::string where() const {
        const std::string role = fmt::format("kernel {}, role {}", k_.name, role_.name);
        if (at_ >= role_.steps.size()) return role + ", at its end";
        return fmt::format("{}, step {} ({})", role, at_, name_of(role_.steps[at_].kind));
    }

    void check_step(const Step& s) {
        switch (s.kind) {
            case StepKind::loop_begin:
                begin_loop(s);
                break;
            case StepKind::loop_end:
                end_loop();
                break;
            case StepKind::acquire:
            case StepKind::commit:
            case StepKind::wait_full:
            case StepKind::release:
                check_ring_step(s);
                break;
            case StepKind::load:
            case StepKind::store:
            case StepKind::reduce:
                check_move(s);
                break;
            case StepKind::mma:
                check_mma(s.mma);
                break;
            case StepKind::wait_mma:
                check_variables(s.count);
                break;
            case StepKind::vector:
                check_vector(s.vec);
                break;
            case StepKind::chase:
                check_chase(s);
                break;
            case StepKind::signal:
            case StepKind::wait_signal:
                check_variables(s.origin[0]);
                break;
            default:
                break;
        }
    }

    void begin_loop(const Step& s) {
        check_variables(s.count);
        if (s.count_limit) check_variables(*s.count_limit);
        require(s.limit_grain >= 1, where(), fmt::format("a limit in units of {}", s.limit_grain), "1 or more");
        require(open_.size() < kLoopDepth, where(), fmt::format("loops nested {} deep", open_.size() + 1),
                fmt::format("at most {}", kLoopDepth));
        const bool fixed = !s.count_limit && s.count.coefficient == Affine().coefficient;
        open_.push_back({rings_, fixed ? std::max<std::int64_t>(1, s.count.constant) : 1});
    }

    void end_loop() {
        require(!open_.empty(), where(), "a loop_end without its loop_begin", "matched loops");
        const Open& open = open_.back();
        for (std::size_t r = 0; r < rings_.size(); ++r) {
            const RingUse& before = open.rings[r];
            RingUse& after = rings_[r];
            require(before.acquired == after.acquired && before.held == after.held, where(),
                    fmt::format("a loop that begins with {} and ends with {} held stages of ring '{}'{}", before.held,
                                after.held, k_.rings[r].name, before.acquired != after.acquired ? ", one open" : ""),
                    "as many waits as releases, and acquires as commits, in each turn");
            // Loads of an outer stage happen in every turn.
            if (after.acquired) after.loaded += (after.loaded - before.loaded) * (open.turns - 1);
            check_fits(r);
        }
        open_.pop_back();
    }

    RingUse& ring_of(const Step& s) {
        require(s.ring >= 0 && static_cast<std::size_t>(s.ring) < rings_.size(), where(),
                fmt::format("ring {}", s.ring), range(rings_.size()));
        return rings_[static_cast<std::size_t>(s.ring)];
    }

    void check_ring_step(const Step& s) {
        RingUse& use = ring_of(s);
        switch (s.kind) {
            case StepKind::acquire:
                require(!use.acquired, where(), "a stage that is acquired already", "a commit before the next acquire");
                use.acquired = true;
                break;
            case StepKind::commit:
                require(use.acquired, where(), "no acquired stage", "an acquire before each commit");
                use.acquired = false;
                use.loaded = 0;
                break;
            case StepKind::wait_full:
                hold(use, k_.rings[static_cast<std::size_t>(s.ring)]);
                break;
            default:
                require(use.held > 0, where(), "no held stage", "a wait_full before each release");
                --use.held;
        }
    }

    void hold(RingUse& use, const Ring& ring) {
        ++use.held;
        require(use.held <= ring.stages, where(), fmt::format("{} stages held of ring '{}'", use.held, ring.name),
                fmt::format("at most its {}: the next is never filled", ring.stages));
    }

    void check_move(const Step& s) {
        require(s.tensor >= 0 && static_cast<std::size_t>(s.tensor) < trace_.tensors.size(), where(),
                fmt::format("tensor {}", s.tensor), range(trace_.tensors.size()));
        const Tensor& t = trace_.tensors[static_cast<std::size_t>(s.tensor)];
        std::int64_t bits = bits_of(t.dtype);
        for (std::size_t d = 0; d < static_cast<std::size_t>(kMaxRank); ++d) {
            const bool within = d < static_cast<std::size_t>(t.rank);
            require(within ? s.box[d] > 0 : s.box[d] == 0, where(),
                    fmt::format("a box extent of {} in dimension {}", s.box[d], d),
                    fmt::format("positive in the {} dimensions of tensor {}", t.rank, t.name));
            check_variables(s.origin[d]);
            if (within) bits *= std::min(s.box[d], t.shape[d]);
        }
        const std::int64_t inner = s.box[static_cast<std::size_t>(t.rank) - 1];
        require(inner * bits_of(t.dtype) % 8 == 0, where(),
                fmt::format("a box of {} elements of {} in its last dimension", inner, name_of(t.dtype)),
                "whole bytes");
        require(s.piece_bytes == 0 ||
                    (s.path != LoadPath::tma && std::has_single_bit(static_cast<unsigned>(s.piece_bytes))),
                where(), fmt::format("pieces of {} bytes", s.piece_bytes), "a power of two, not by the TMA");
        if (s.kind != StepKind::load) return;
        RingUse& use = ring_of(s);
        require(use.acquired, where(), "no acquired stage", "an acquire before each load");
        use.loaded += bits / 8;
        check_fits(static_cast<std::size_t>(s.ring));
        require(s.multicast_ctas >= 1 && s.multicast_stride >= 1 &&
                    k_.work.cluster % (s.multicast_ctas * s.multicast_stride) == 0,
                where(), fmt::format("a multicast to {} CTAs with stride {}", s.multicast_ctas, s.multicast_stride),
                fmt::format("groups that divide the cluster of {}", k_.work.cluster));
    }

    void check_fits(std::size_t r) const {
        const Ring& ring = k_.rings[r];
        require(rings_[r].loaded <= ring.stage_bytes, where(),
                fmt::format("{} bytes loaded into a stage", rings_[r].loaded),
                fmt::format("at most the {} bytes of a stage of ring '{}'", ring.stage_bytes, ring.name));
    }

    void check_mma(const MmaShape& m) {
        require(m.m > 0 && m.k > 0 && m.n > 0 && m.n <= kMaxMmaN, where(),
                fmt::format("an mma of {}x{}x{}", m.m, m.n, m.k), fmt::format("positive, n up to {}", kMaxMmaN));
    }

    void check_vector(const VectorShape& v) {
        for (const double amount : {v.fp32_ops, v.sfu_ops, v.smem_bytes, v.latency_cycles}) {
            require(std::isfinite(amount) && amount >= 0, where(), fmt::format("an amount of work of {}", amount),
                    "0 or more");
        }
    }

    void check_chase(const Step& s) {
        check_variables(s.origin[0]);
        const ChaseShape& c = s.chase;
        require(c.accesses >= 0 && c.warmup_accesses >= 0 && c.accesses + c.warmup_accesses > 0, where(),
                fmt::format("{} accesses after {} to warm up", c.accesses, c.warmup_accesses), "1 or more in all");
        if (c.space != ChaseSpace::global) return;
        require(s.tensor >= 0 && static_cast<std::size_t>(s.tensor) < trace_.tensors.size(), where(),
                fmt::format("tensor {}", s.tensor), range(trace_.tensors.size()));
        require(c.stride_bytes > 0 && c.bytes >= c.stride_bytes, where(),
                fmt::format("{} bytes in strides of {}", c.bytes, c.stride_bytes), "at least one stride");
    }

    /// A counter means something inside its own loop only.
    void check_variables(const Affine& a) const {
        for (std::size_t depth = open_.size(); depth < kLoopDepth; ++depth) {
            require(a.coefficient[kWorkDims + depth] == 0, where(), fmt::format("the counter of loop {}", depth),
                    fmt::format("counters of the {} loops around the step", open_.size()));
        }
    }

    const Trace& trace_;
    const Kernel& k_;
    const Role& role_;
    std::vector<RingUse> rings_;
    std::vector<Open> open_;
    std::size_t at_ = 0;
};

}  // namespace

void check(const Trace& trace) {
    for (const Tensor& tensor : trace.tensors) check_tensor(tensor);
    require(!trace.kernels.empty() && trace.warmup_kernels < trace.kernels.size(), "trace",
            fmt::format("{} kernels, {} of them not counted", trace.kernels.size(), trace.warmup_kernels),
            "at least one that is counted");
    for (const Kernel& kernel : trace.kernels) {
        check_grid(kernel);
        for (const Role& role : kernel.roles) {
            require(role.instances >= 1 && role.warps >= 1, fmt::format("kernel {}, role {}", kernel.name, role.name),
                    fmt::format("{} instances of {} warps", role.instances, role.warps), "1 or more of each");
            RoleCheck(trace, kernel, role).run();
        }
        check_rings(kernel);
        check_ring_balance(kernel);
    }
}

}  // namespace memwall::trace
