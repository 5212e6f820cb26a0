// The link of one HBM stack over the interposer: short wires, of which every pseudo-channel has its own.
//
// Latency comes from the floorplan's routes; this is the width: the stack's link, shared out over its channels as the
// pins are. It binds only when a description makes it narrower than the memory behind it.
#pragma once

#include <vector>

#include "chip/chunk.h"

namespace memwall::chip {

class InterposerLink {
public:
    /// `stack_ps_per_byte`: of all channels together.
    InterposerLink(double stack_ps_per_byte, std::size_t channels)
        : ps_per_byte_(stack_ps_per_byte * static_cast<double>(channels)), lanes_(channels) {}

    /// Data whose last beat is ready at `at_ps`; returns when the last beat has crossed the bus (without latency).
    double pass(std::size_t channel, double at_ps, double bytes) {
        const double duration = bytes * ps_per_byte_;
        bytes_ += static_cast<std::uint64_t>(bytes);
        return lanes_[channel].reserve(at_ps - duration, duration) + duration;
    }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

private:
    double ps_per_byte_;
    std::vector<Server> lanes_;
    std::uint64_t bytes_ = 0;
};

}  // namespace memwall::chip
