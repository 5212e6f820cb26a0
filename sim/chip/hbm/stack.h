// One HBM stack with the memory controllers of its channels: the SystemC face of its pseudo-channels.
//
// The pseudo-channels decide in plain C++ (pseudo_channel.h); the stack hands them what arrives in a window, lets each
// decide up to the window's end, and sends what they finished over the interposer to the slice that asked.
#pragma once

#include <string>
#include <vector>

#include "chip/hbm/pseudo_channel.h"
#include "chip/interposer/link.h"
#include "chip/l2/partition.h"
#include "chip/wiring.h"

namespace memwall::chip {

class HbmStack : public PartOf<HbmStack> {
public:
    enum Kind : std::uint32_t { access };  ///< payload: run; arg: slice

    HbmStack(const sc_core::sc_module_name& name, Shared& shared, MemoryPools& pools, int stack, std::uint32_t id);
    void connect(L2Partition& half0, L2Partition& half1) { partitions_ = {&half0, &half1}; }

    void handle(const Message& message);
    void prefetch(const WaitingMessage& message, int stage) const {
        if (stage == 1) pools_.runs.prefetch(message.payload);
    }
    void finish_window();

    [[nodiscard]] std::vector<ChannelObservation> observe(Ps now) const;
    /// Adds this stack's cumulative figures to `counters`.
    void add_to(Counters& counters, Ps now) const;
    [[nodiscard]] PartTraffic traffic() const;
    void check_empty() const;
    [[nodiscard]] std::uint64_t held() const { return runs_in_ - runs_out_; }

private:
    void finish(std::size_t channel, const DramCompletion& completion);

    Wiring& wiring_;
    MemoryPools& pools_;
    int stack_;
    std::vector<L2Partition*> partitions_;
    std::vector<int> first_channel_;  // by slice: of this stack's channels; -1 elsewhere
    std::vector<int> channel_slice_;  // by channel
    std::vector<PseudoChannel> channels_;
    std::vector<std::int64_t> due_ps_;  // by channel: when it next decides
    InterposerLink to_die_, to_stack_;
    std::vector<DramCompletion> done_;            // in this window
    std::vector<std::uint32_t> channel_of_done_;  // of each of them
    std::uint64_t runs_in_ = 0, runs_out_ = 0;
};

}  // namespace memwall::chip
