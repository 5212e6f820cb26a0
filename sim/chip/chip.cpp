#include "chip/chip.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "chip/crossbar/crossbar.h"
#include "chip/hbm/stack.h"
#include "chip/l2/partition.h"
#include "chip/launch/launch_unit.h"
#include "chip/sm/sm.h"

namespace memwall::chip {

namespace {

/// SystemC keeps one simulation in a global; each chip brings its own, so that a process can simulate many in turn.
class Context {
public:
    Context() { sc_core::sc_curr_simcontext = &context_; }
    ~Context() { sc_core::sc_curr_simcontext = nullptr; }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

private:
    sc_core::sc_simcontext context_;
};

class Chip {
public:
    Chip(const device::Device& device, const trace::Trace& trace, const RunOptions& options);
    Observations run();

private:
    void build();
    [[nodiscard]] Counters counters(Ps now) const;
    void advance();
    void check_finished() const;
    [[nodiscard]] Observations report() const;
    void report_parts(Observations& out) const;

    Shared shared_;
    Workbench bench_;
    MemoryPools pools_;
    const RunOptions& options_;
    std::vector<TimelineSpan> timeline_;
    std::vector<TileObservation> tiles_;
    std::unique_ptr<LaunchUnit> launch_;
    std::vector<std::unique_ptr<Sm>> sms_;
    std::vector<std::unique_ptr<Crossbar>> crossbars_;
    std::vector<std::unique_ptr<L2Partition>> partitions_;
    std::vector<std::unique_ptr<HbmStack>> stacks_;
};

Chip::Chip(const device::Device& device, const trace::Trace& trace, const RunOptions& options)
    : shared_(device), options_(options) {
    bench_.trace = &trace;
    for (std::size_t k = 0; k < trace.kernels.size(); ++k) bench_.programs.push_back(compile(trace, k, device));
    // The cluster network and the launch unit are paths between parts as well.
    std::int64_t limit = shared_.wiring.lookahead_ps();
    if (std::any_of(trace.kernels.begin(), trace.kernels.end(), [](const auto& k) { return k.work.cluster > 1; })) {
        const double cycles = std::min(device.crossbar.cluster_latency_cycles, device.sm.cluster_barrier_cycles / 2);
        limit = std::min(limit, shared_.wiring.sm_clock.span(cycles).count);
    }
    if (limit < Grid::kLeastStepPs)
        throw InputError(device.name +
                             ": /floorplan latencies and, between the SMs of a cluster, "
                             "/crossbar/cluster_latency_cycles and half of /sm/cluster_barrier_cycles",
                         fmt::format("a path of {} ps between two parts", limit),
                         fmt::format("{} ps or more", Grid::kLeastStepPs));
    shared_.grid.lookahead_ps = limit;
    shared_.grid.set_step(options.step_ps > 0 ? std::min(options.step_ps, limit) : limit);
    if (options.timeline) {
        bench_.timeline = &timeline_;
        bench_.tiles = &tiles_;
        bench_.watched.assign(static_cast<std::size_t>(device.sms()), false);
        for (const int sm : options.timeline_sms.empty() ? std::vector<int>{0, 1, 2} : options.timeline_sms) {
            if (sm < 0 || sm >= device.sms())
                throw InputError("timeline", fmt::format("SM {}", sm), fmt::format("0 to {}", device.sms() - 1));
            bench_.watched[static_cast<std::size_t>(sm)] = true;
        }
    }
    build();
}

void Chip::build() {
    const device::Device& device = shared_.wiring.device;
    std::uint32_t id = 1;
    launch_ = std::make_unique<LaunchUnit>(sc_core::sc_module_name("launch"), shared_, bench_, id++);
    for (int sm = 0; sm < device.sms(); ++sm)
        sms_.push_back(
            std::make_unique<Sm>(sc_core::sc_module_name(fmt::format("sm{}", sm).c_str()), shared_, bench_, sm, id++));
    for (int half = 0; half < 2; ++half) {
        crossbars_.push_back(std::make_unique<Crossbar>(
            sc_core::sc_module_name(fmt::format("crossbar{}", half).c_str()), shared_, half, id++));
        partitions_.push_back(std::make_unique<L2Partition>(sc_core::sc_module_name(fmt::format("l2_{}", half).c_str()),
                                                            shared_, pools_, half, id++));
    }
    for (int stack = 0; stack < device.hbm.stacks; ++stack) {
        stacks_.push_back(std::make_unique<HbmStack>(sc_core::sc_module_name(fmt::format("hbm{}", stack).c_str()),
                                                     shared_, pools_, stack, id++));
    }
    std::vector<Sm*> sms;
    for (auto& sm : sms_) sms.push_back(sm.get());
    std::vector<HbmStack*> stacks;
    for (auto& stack : stacks_) stacks.push_back(stack.get());
    for (std::size_t half = 0; half < 2; ++half) {
        crossbars_[half]->connect(*partitions_[half], sms);
        partitions_[half]->connect(*crossbars_[half], *partitions_[1 - half], stacks);
    }
    for (auto& stack : stacks_) stack->connect(*partitions_[0], *partitions_[1]);
    for (std::size_t sm = 0; sm < sms_.size(); ++sm) {
        sms_[sm]->connect(*crossbars_[static_cast<std::size_t>(shared_.wiring.sm_partition[sm])], *launch_, sms);
    }
    if (options_.dirty_share > 0) {
        for (auto& partition : partitions_) partition->soil(options_.dirty_share);
    }
    launch_->connect(sms, [this](Ps now) { return counters(now); });
}

Counters Chip::counters(Ps now) const {
    Counters all;
    for (const auto& sm : sms_) all += sm->counters();
    for (const auto& crossbar : crossbars_) all += crossbar->counters();
    for (const auto& partition : partitions_) all += partition->counters(now.count);
    for (const auto& stack : stacks_) stack->add_to(all, now);
    return all;
}

void Chip::advance() {
    constexpr std::int64_t kSlicePs = 50'000'000;  // progress is looked at every 50 us of simulated time
    if (!options_.progress) {
        sc_core::sc_start();
        return;
    }
    while (sc_core::sc_pending_activity()) {
        sc_core::sc_start(sc_core::sc_time::from_value(static_cast<sc_dt::uint64>(kSlicePs)),
                          sc_core::SC_EXIT_ON_STARVATION);
        const auto& kernels = launch_->kernels();
        const auto done = static_cast<std::size_t>(
            std::count_if(kernels.begin(), kernels.end(), [](const auto& k) { return k.end.count > 0; }));
        options_.progress(done, Ps{static_cast<std::int64_t>(sc_core::sc_time_stamp().value())});
    }
}

Observations Chip::run() {
    launch_->begin();
    advance();
    if (shared_.grid.failure) std::rethrow_exception(shared_.grid.failure);
    check_finished();
    return report();
}

void Chip::check_finished() const {
    if (!launch_->finished()) {
        std::vector<std::string> lines;
        launch_->describe_waits(lines);
        for (const auto& crossbar : crossbars_)
            lines.push_back(fmt::format("{}: {} requests unanswered", crossbar->name(), crossbar->held()));
        for (const auto& partition : partitions_) lines.push_back(partition->describe_held());
        for (const auto& stack : stacks_) {
            if (stack->held() > 0) lines.push_back(fmt::format("{}: {} runs inside", stack->name(), stack->held()));
        }
        for (const auto& sm : sms_) sm->describe_waits(lines);
        constexpr std::size_t kShown = 12;
        std::string text = fmt::format("the simulated machine deadlocked at {:.3f} us:",
                                       static_cast<double>(sc_core::sc_time_stamp().value()) * 1e-6);
        for (std::size_t i = 0; i < std::min(lines.size(), kShown); ++i) text += "\n  " + lines[i];
        if (lines.size() > kShown) text += fmt::format("\n  and {} more", lines.size() - kShown);
        throw ModelError(text);
    }
    for (const auto& sm : sms_) sm->check_empty();
    for (const auto& crossbar : crossbars_) {
        if (crossbar->held() != 0)
            throw ModelError(
                fmt::format("{}: conservation broken: {} requests unanswered", crossbar->name(), crossbar->held()));
    }
    for (const auto& partition : partitions_) partition->check_empty();
    for (const auto& stack : stacks_) stack->check_empty();
    const std::pair<const char*, std::size_t> held[] = {{"chunks", shared_.chunks.in_use()},
                                                        {"fills", pools_.fills.in_use()},
                                                        {"askers", pools_.askers.in_use()},
                                                        {"memory runs", pools_.runs.in_use()},
                                                        {"clusters", bench_.clusters.in_use()}};
    for (const auto& [what, count] : held) {
        if (count != 0)
            throw ModelError(fmt::format("conservation broken: {} {} are still inside the chip", count, what));
    }
}

Observations Chip::report() const {
    Observations out;
    out.kernels = launch_->kernels();
    out.end = out.kernels.empty() ? Ps{} : out.kernels.back().end;
    out.total = counters(out.end);
    for (const auto& stack : stacks_) {
        for (const auto& channel : stack->observe(out.end)) out.channels.push_back(channel);
    }
    report_parts(out);
    out.timeline = timeline_;
    out.tiles = tiles_;
    auto samples = bench_.chase_samples;
    if (!samples.empty()) {
        std::sort(samples.begin(), samples.end());
        const auto at = [&](double q) {
            return samples[static_cast<std::size_t>(q * static_cast<double>(samples.size() - 1))];
        };
        double sum = 0;
        for (const double sample : samples) sum += sample;
        out.chase = {sum / static_cast<double>(samples.size()), at(0.1), at(0.5), at(0.75), at(0.9), samples.size()};
    }
    out.events = shared_.grid.messages;
    out.activations = shared_.grid.activations;
    out.lines = (out.total.sm_read_bytes + out.total.sm_write_bytes) / 128;
    return out;
}

void Chip::report_parts(Observations& out) const {
    for (const auto& sm : sms_) out.parts.push_back(sm->traffic());
    for (int gpc = 0; gpc < shared_.wiring.device.gpcs(); ++gpc) {
        PartTraffic traffic{fmt::format("gpc{}", gpc), 0, 0, 0};
        for (const auto& crossbar : crossbars_) {
            traffic.bytes_in += crossbar->bytes_to_sms(gpc);
            traffic.bytes_out += crossbar->bytes_from_sms(gpc);
        }
        out.parts.push_back(traffic);
    }
    for (const auto& partition : partitions_)
        out.parts.insert(out.parts.end(), partition->traffic().begin(), partition->traffic().end());
    for (const auto& stack : stacks_) out.parts.push_back(stack->traffic());
}

}  // namespace

double steady_dirty_share(double read_bytes, double written_bytes) {
    constexpr double kHeldPerRead = 1.5;
    const double held = kHeldPerRead * read_bytes + written_bytes;
    return held > 0 ? written_bytes / held : 0;
}

Observations simulate(const device::Device& device, const trace::Trace& trace, const RunOptions& options) {
    if (trace.kernels.empty()) throw InputError("trace", "no kernels", "at least one kernel");
    const Context context;
    Chip chip(device, trace, options);
    return chip.run();
}

}  // namespace memwall::chip
