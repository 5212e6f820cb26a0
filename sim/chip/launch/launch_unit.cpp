#include "chip/launch/launch_unit.h"

#include <fmt/core.h>

#include <algorithm>

namespace memwall::chip {

namespace {

constexpr std::uint32_t kMostClusters = 0xFFFF;  // a chunk names its cluster in 16 bits
constexpr int kReadyMoment = 0, kFirstCta = 1, kFirstData = 2, kDrain = 3, kEnd = 4;

}  // namespace

LaunchUnit::LaunchUnit(const sc_core::sc_module_name& name, Shared& shared, Workbench& bench, std::uint32_t id)
    : PartOf(name, shared.grid, id),
      shared_(shared),
      wiring_(shared.wiring),
      bench_(bench),
      running_(bench.programs.size()),
      observed_(bench.programs.size()),
      seen_data_(bench.programs.size(), false) {
    const auto& device = wiring_.device;
    const bool resident = bench.trace->runtime == trace::Runtime::megakernel;
    dispatch_ps_ = wiring_.sm_clock.period_ps() / device.launch.ctas_per_cycle;
    // Inside a persistent kernel a "CTA" is one more turn of a loop: it pays no start and no exit.
    start_ps_ = resident ? 0 : wiring_.sm_clock.span(device.launch.cta_start_cycles).count;
    exit_ps_ = resident ? 0 : wiring_.sm_clock.span(device.launch.cta_exit_cycles).count;
    start_ps_ = std::max(start_ps_, shared.grid.lookahead_ps);
    exit_ps_ = std::max(exit_ps_, shared.grid.lookahead_ps);
    host_launch_ps_ = bench.trace->runtime == trace::Runtime::stream
                          ? static_cast<std::int64_t>(device.launch.host_launch_us * 1e6)
                          : 0;
    gpc_sms_.resize(static_cast<std::size_t>(device.gpcs()));
    for (int sm = 0; sm < device.sms(); ++sm) {
        auto& resources = free_.emplace_back(Resources{device.sm.max_ctas,
                                                       device.sm.max_threads,
                                                       device.sm.max_warps,
                                                       device.sm.registers,
                                                       device.sm.smem_bytes,
                                                       {}});
        for (int slot = kSlots - 1; slot >= 0; --slot) resources.free_slots.push_back(static_cast<std::uint8_t>(slot));
        gpc_sms_[static_cast<std::size_t>(wiring_.sm_gpc[static_cast<std::size_t>(sm)])].push_back(sm);
    }
}

void LaunchUnit::connect(const std::vector<Sm*>& sms, Snapshot snapshot) {
    sms_ = sms;
    snapshot_ = std::move(snapshot);
}

void LaunchUnit::begin() {
    deliver({shared_.grid.lookahead_ps, next_order(), 0, 0, ready});
}

std::int64_t LaunchUnit::gap_ps() const {
    const auto& launch = wiring_.device.launch;
    double us = 0;
    switch (bench_.trace->runtime) {
        case trace::Runtime::stream:
            us = launch.stream_gap_us;
            break;
        case trace::Runtime::graph:
            us = launch.graph_gap_us;
            break;
        case trace::Runtime::pdl:
            us = launch.pdl_gap_us;
            break;
        case trace::Runtime::megakernel:
            us = launch.megakernel_gap_us;
            break;
    }
    return static_cast<std::int64_t>(us * 1e6);
}

bool LaunchUnit::overlaps() const {
    return bench_.trace->runtime == trace::Runtime::pdl || bench_.trace->runtime == trace::Runtime::megakernel;
}

void LaunchUnit::handle(const Message& message) {
    const std::int64_t now = message.due_ps;
    const auto sm = static_cast<int>(message.payload >> 8);
    const auto slot = static_cast<int>(message.payload & 0xFF);
    switch (message.kind) {
        case ready:
            make_ready(message.payload, now);
            break;
        case cta_exited:
            exited(sm, slot, message.arg >> 1, (message.arg & 1) != 0, now);
            break;
        case cta_drained:
            drained(sm, slot, message.arg, now);
            break;
        case cta_triggered:
            ++running_[message.arg].triggered;
            place_all(now, -1);
            break;
        case first_data:
            if (!seen_data_[message.payload]) {
                seen_data_[message.payload] = true;
                observe(message.payload, kFirstData, now - exit_ps_);
            }
            break;
        case take: {
            const trace::Kernel& kernel = *bench_.programs[message.arg].kernel;
            const std::int64_t item = kernel.ctas + running_[message.arg].taken++;
            send(*sms_[static_cast<std::size_t>(sm)], now + atomic_latency_ps(wiring_, sm), Sm::work,
                 static_cast<std::uint32_t>(slot),
                 item < kernel.work.items() ? static_cast<std::uint32_t>(item) : kNone);
            break;
        }
        case signal:
            set_flag(flag(message.arg, message.payload), now);
            break;
        case poll: {
            const auto& order = sms_[message.payload >> 16]->order(static_cast<int>(message.payload >> 8 & 0xFF));
            poll_flag(flag(order.kernel, message.arg), message.payload, now);
            break;
        }
        default:
            for (Sm* each : sms_) send(*each, now + shared_.grid.lookahead_ps, Sm::dependency, message.payload);
    }
}

LaunchUnit::Flag& LaunchUnit::flag(std::size_t kernel, std::uint32_t number) {
    auto& flags = running_[kernel].flags;
    if (number >= flags.size()) flags.resize(number + 1);
    return flags[number];
}

void LaunchUnit::set_flag(Flag& flag, std::int64_t now_ps) {
    flag.set = true;
    if (flag.poller == kNone) return;
    const std::int64_t there_and_back = 2 * atomic_latency_ps(wiring_, static_cast<int>(flag.poller >> 16));
    const std::int64_t polls = (now_ps - flag.polled_ps + there_and_back - 1) / there_and_back;
    poll_flag(flag, flag.poller, flag.polled_ps + polls * there_and_back);
}

void LaunchUnit::poll_flag(Flag& flag, std::uint32_t poller, std::int64_t now_ps) {
    if (!flag.set) {
        flag.poller = poller;
        flag.polled_ps = now_ps;
        return;
    }
    const auto sm = static_cast<int>(poller >> 16);
    send(*sms_[static_cast<std::size_t>(sm)], now_ps + atomic_latency_ps(wiring_, sm), Sm::signalled, poller & 0xFFFF);
}

void LaunchUnit::make_ready(std::size_t kernel, std::int64_t at_ps) {
    if (running_[kernel].ready) return;
    running_[kernel].ready = true;
    if (kernel == 0) observe(0, kReadyMoment, at_ps);
    if (!overlaps() || kernel == 0) {
        for (Sm* each : sms_)
            send(*each, at_ps + shared_.grid.lookahead_ps, Sm::dependency, static_cast<std::uint32_t>(kernel));
    }
    place_all(at_ps, -1);
}

bool LaunchUnit::fits(const Program& p, int sm) const {
    const Resources& r = free_[static_cast<std::size_t>(sm)];
    const auto& allowed = p.kernel->sms;
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), sm) == allowed.end()) return false;
    const int resident = wiring_.device.sm.max_ctas - r.ctas;
    return resident < p.ctas_per_sm && r.threads >= p.threads && r.warps >= p.warps && r.registers >= p.registers &&
           r.smem_bytes >= p.smem_bytes && !r.free_slots.empty();
}

void LaunchUnit::place_all(std::int64_t now_ps, int hint_sm) {
    for (;;) {
        if (dispatching_ >= running_.size()) return;
        const trace::Kernel& kernel = *bench_.programs[dispatching_].kernel;
        Running& run = running_[dispatching_];
        if (run.next >= kernel.ctas) {
            // The next kernel's CTAs may follow at once when it was launched dependent and this one let it.
            const std::size_t next = dispatching_ + 1;
            if (next >= running_.size()) return;
            const bool let = overlaps() && run.triggered >= kernel.ctas;
            if (!running_[next].ready && !let) return;
            running_[next].ready = true;
            dispatching_ = next;
            continue;
        }
        if (!run.ready) return;
        const bool placed =
            kernel.work.cluster > 1 ? place_cluster(dispatching_, now_ps) : place_one(dispatching_, now_ps, hint_sm);
        if (!placed) return;
    }
}

bool LaunchUnit::place_one(std::size_t kernel, std::int64_t now_ps, int hint_sm) {
    const Program& p = bench_.programs[kernel];
    const int sms = static_cast<int>(free_.size());
    int found = -1;
    if (hint_sm >= 0 && fits(p, hint_sm)) {
        found = hint_sm;
    } else {
        for (int i = 0; i < sms && found < 0; ++i) {
            const int sm = (rotor_ + i) % sms;
            if (fits(p, sm)) found = sm;
        }
        if (found < 0) return false;
        rotor_ = (found + 1) % sms;
    }
    start(kernel, found, running_[kernel].next++, kNone, 0, now_ps);
    return true;
}

bool LaunchUnit::place_cluster(std::size_t kernel, std::int64_t now_ps) {
    const Program& p = bench_.programs[kernel];
    const int size = p.kernel->work.cluster;
    const auto gpcs = gpc_sms_.size();
    for (std::size_t i = 0; i < gpcs; ++i) {
        const auto& sms = gpc_sms_[(static_cast<std::size_t>(rotor_) + i) % gpcs];
        int chosen[ClusterRecord::kMaxCtas];
        int count = 0;
        for (const int sm : sms) {
            if (count < size && fits(p, sm)) chosen[count++] = sm;
        }
        if (count < size) continue;
        rotor_ = static_cast<int>((static_cast<std::size_t>(rotor_) + i + 1) % gpcs);
        const std::uint32_t cluster = bench_.clusters.take();
        if (cluster > kMostClusters) throw ModelError(fmt::format("more than {} clusters at a time", kMostClusters));
        ClusterRecord& record = bench_.clusters[cluster];
        record = ClusterRecord{};
        record.ctas = size;
        record.live = size;
        for (int rank = 0; rank < size; ++rank) {
            record.sm[static_cast<std::size_t>(rank)] = static_cast<std::uint16_t>(chosen[rank]);
            record.slot[static_cast<std::size_t>(rank)] =
                free_[static_cast<std::size_t>(chosen[rank])].free_slots.back();
        }
        const std::int64_t first = running_[kernel].next;
        running_[kernel].next += size;
        for (int rank = 0; rank < size; ++rank) start(kernel, chosen[rank], first + rank, cluster, rank, now_ps);
        return true;
    }
    return false;
}

void LaunchUnit::start(std::size_t kernel, int sm, std::int64_t cta, std::uint32_t cluster, int rank,
                       std::int64_t now_ps) {
    const Program& p = bench_.programs[kernel];
    Resources& r = free_[static_cast<std::size_t>(sm)];
    const std::uint8_t slot = r.free_slots.back();
    r.free_slots.pop_back();
    --r.ctas;
    r.threads -= p.threads;
    r.warps -= p.warps;
    r.registers -= p.registers;
    r.smem_bytes -= p.smem_bytes;
    sms_[static_cast<std::size_t>(sm)]->order(slot) = {static_cast<std::uint32_t>(kernel), cta, cluster, rank};
    const auto at = static_cast<std::int64_t>(dispatcher_.reserve(static_cast<double>(now_ps), dispatch_ps_));
    if (cta == 0) {
        if (kernel > 0 && overlaps() && observed_[kernel].ready.count == 0) observe(kernel, kReadyMoment, now_ps);
        observe(kernel, kFirstCta, at);
    }
    send(*sms_[static_cast<std::size_t>(sm)], at + start_ps_, Sm::start_cta, slot);
}

void LaunchUnit::exited(int sm, int slot, std::size_t kernel, bool is_drained, std::int64_t now_ps) {
    const Program& p = bench_.programs[kernel];
    Resources& r = free_[static_cast<std::size_t>(sm)];
    ++r.ctas;
    r.threads += p.threads;
    r.warps += p.warps;
    r.registers += p.registers;
    r.smem_bytes += p.smem_bytes;
    Running& run = running_[kernel];
    ++run.exited;
    if (!run.first_exit && run.next >= p.kernel->ctas) {
        run.first_exit = true;
        if (!seen_data_[kernel]) {
            seen_data_[kernel] = true;
            observe(kernel, kFirstData, now_ps - exit_ps_);
        }
        observe(kernel, kDrain, now_ps - exit_ps_);
    }
    place_all(now_ps, sm);
    if (is_drained) drained(sm, slot, kernel, now_ps);
}

void LaunchUnit::drained(int sm, int slot, std::size_t kernel, std::int64_t now_ps) {
    free_[static_cast<std::size_t>(sm)].free_slots.push_back(static_cast<std::uint8_t>(slot));
    const std::uint32_t cluster = sms_[static_cast<std::size_t>(sm)]->order(slot).cluster;
    if (cluster != kNone && --bench_.clusters[cluster].live == 0) bench_.clusters.give_back(cluster);
    Running& run = running_[kernel];
    if (++run.drained < bench_.programs[kernel].kernel->ctas) {
        place_all(now_ps, sm);
        return;
    }
    complete(kernel, now_ps - exit_ps_);
}

void LaunchUnit::complete(std::size_t kernel, std::int64_t end_ps) {
    observe(kernel, kEnd, end_ps);
    completed_ = std::max(completed_, kernel + 1);
    const std::size_t next = kernel + 1;
    if (next >= running_.size()) return;
    const std::int64_t host = host_launch_ps_ * static_cast<std::int64_t>(next);
    const std::int64_t soonest = end_ps + exit_ps_ + 1;  // this unit hears of the end one exit latency later
    const std::int64_t at = std::max({end_ps + gap_ps(), host, soonest});
    if (observed_[next].ready.count == 0) observe(next, kReadyMoment, end_ps);
    if (overlaps()) post(at, fulfilled, static_cast<std::uint32_t>(next));
    post(at, ready, static_cast<std::uint32_t>(next));
}

void LaunchUnit::observe(std::size_t kernel, std::size_t moment, std::int64_t at_ps) {
    KernelObservation& seen = observed_[kernel];
    seen.kernel = kernel;
    Ps* const moments[] = {&seen.ready, &seen.first_cta, &seen.first_data, &seen.drain, &seen.end};
    *moments[moment] = Ps{at_ps};
    seen.at[moment] = snapshot_(Ps{std::max(at_ps, tick_ * shared_.grid.step_ps())});
}

void LaunchUnit::describe_waits(std::vector<std::string>& lines) const {
    for (std::size_t kernel = completed_; kernel < running_.size() && kernel < completed_ + 2; ++kernel) {
        const auto& run = running_[kernel];
        const auto ctas = bench_.programs[kernel].kernel->ctas;
        lines.push_back(fmt::format("kernel {}: {} of {} CTAs dispatched, {} exited, {} with all stores arrived{}",
                                    bench_.programs[kernel].kernel->name, run.next, ctas, run.exited, run.drained,
                                    run.ready && run.next < ctas ? "; the rest cannot be placed" : ""));
    }
}

}  // namespace memwall::chip
