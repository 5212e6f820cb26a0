#include "chip/hbm/stack.h"

#include <fmt/core.h>

namespace memwall::chip {

namespace {

/// Pseudo-channels of one stack.
std::size_t channels_of(const Wiring& wiring) {
    const auto& hbm = wiring.device.hbm;
    return static_cast<std::size_t>(hbm.channels_per_stack * hbm.pseudo_channels_per_channel);
}

}  // namespace

HbmStack::HbmStack(const sc_core::sc_module_name& name, Shared& shared, MemoryPools& pools, int stack, std::uint32_t id)
    : PartOf(name, shared.grid, id),
      wiring_(shared.wiring),
      pools_(pools),
      stack_(stack),
      to_die_(shared.wiring.stack_down, channels_of(shared.wiring)),
      to_stack_(shared.wiring.stack_up, channels_of(shared.wiring)) {
    first_channel_.assign(wiring_.slice_stack.size(), -1);
    int channels = 0;
    for (std::size_t slice = 0; slice < wiring_.slice_stack.size(); ++slice) {
        if (wiring_.slice_stack[slice] != stack) continue;
        first_channel_[slice] = channels;
        channels += wiring_.map.channels_per_slice();
        channel_slice_.resize(static_cast<std::size_t>(channels), static_cast<int>(slice));
    }
    channels_.reserve(static_cast<std::size_t>(channels));
    for (int channel = 0; channel < channels; ++channel) {
        channels_.emplace_back(wiring_.device.hbm, static_cast<std::uint32_t>(stack * 64 + channel));
    }
    due_ps_.assign(channels_.size(), kNever.count);
}

void HbmStack::handle(const Message& message) {
    DramRun& run = pools_.runs[message.payload];
    const auto channel = static_cast<std::size_t>(first_channel_[message.arg] + run.channel);
    run.entered_ps = message.due_ps;
    ++runs_in_;
    channels_[channel].push({message.payload, run.page, run.first_burst, run.bursts, run.write, Ps{message.due_ps}});
    due_ps_[channel] = std::min(due_ps_[channel], message.due_ps);
}

void HbmStack::finish_window() {
    std::int64_t next = kNever.count;
    done_.clear();
    channel_of_done_.clear();
    for (std::size_t channel = 0; channel < channels_.size(); ++channel) {
        if (due_ps_[channel] < window_end_ps_) {
            channels_[channel].advance(Ps{window_end_ps_}, done_);
            due_ps_[channel] = channels_[channel].next_due().count;
            channel_of_done_.resize(done_.size(), static_cast<std::uint32_t>(channel));  // of those just added
        }
        next = std::min(next, due_ps_[channel]);
    }
    // What a completion needs lies in two tables, one behind the other: all of a stage are fetched before the next.
    for (const DramCompletion& completion : done_) pools_.runs.prefetch(completion.tag);
    for (const DramCompletion& completion : done_) {
        if (const std::uint32_t fill = pools_.runs[completion.tag].fill; fill != kNone) pools_.fills.prefetch(fill);
    }
    for (std::size_t i = 0; i < done_.size(); ++i) finish(channel_of_done_[i], done_[i]);
    if (next != kNever.count) wake_at(next);
}

void HbmStack::finish(std::size_t channel, const DramCompletion& completion) {
    const DramRun& run = pools_.runs[completion.tag];
    ++runs_out_;
    const int slice = channel_slice_[channel];
    // Data cross the interposer when the scheduled burst does, in either direction.
    InterposerLink& link = run.write ? to_stack_ : to_die_;
    const double at =
        link.pass(channel, static_cast<double>(completion.at.count), run.bursts * wiring_.device.hbm.burst_bytes);
    const std::int64_t crossing = wiring_.controller_to_stack_ps[static_cast<std::size_t>(slice)];
    const std::int64_t due =
        static_cast<std::int64_t>(at) + crossing + wiring_.slice_to_controller_ps[static_cast<std::size_t>(slice)];
    if (run.fill != kNone) {
        Fill& fill = pools_.fills[run.fill];
        fill.hbm_ps = std::max(fill.hbm_ps, static_cast<std::int32_t>(completion.at.count - run.entered_ps));
        fill.interposer_ps = static_cast<std::int32_t>(2 * crossing);
    }
    send(*partitions_[static_cast<std::size_t>(wiring_.slice_partition[static_cast<std::size_t>(slice)])], due,
         L2Partition::dram_done, completion.tag);
}

std::vector<ChannelObservation> HbmStack::observe(Ps now) const {
    std::vector<ChannelObservation> all(channels_.size());
    for (std::size_t channel = 0; channel < channels_.size(); ++channel) {
        channels_[channel].observe(now, all[channel]);
        all[channel].stack = stack_;
        all[channel].pseudo_channel = static_cast<int>(channel);
    }
    return all;
}

void HbmStack::add_to(Counters& counters, Ps now) const {
    for (const auto& channel : channels_) {
        ChannelObservation seen{};
        channel.observe(now, seen);
        counters.dram_read_bytes += seen.read_bytes;
        counters.dram_write_bytes += seen.write_bytes;
        counters.dram_row_hits += seen.row_hits;
        counters.dram_row_misses += seen.row_misses;
        counters.dram_row_conflicts += seen.row_conflicts;
        counters.dram_activates += seen.activates;
        counters.hbm += seen.time;
    }
}

PartTraffic HbmStack::traffic() const {
    return {fmt::format("hbm{}", stack_), to_stack_.bytes(), to_die_.bytes(), 0};
}

void HbmStack::check_empty() const {
    if (runs_in_ != runs_out_) {
        throw ModelError(fmt::format("{}: conservation broken: {} runs entered, {} left", name(), runs_in_, runs_out_));
    }
}

}  // namespace memwall::chip
