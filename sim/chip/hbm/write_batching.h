// When the bus turns between reads and writes.
//
// Reads go first. Writes wait until a high watermark, or until no read has waited for a while; then they go in a batch
// down to the low watermark (or, without reads, to the last). Before a batch that was forced by the watermark, the
// rows of the writes are opened while reads still go, so that the turn costs the bus its turnaround and no more. A run
// is cut where the bus turns: the queue's entries are 64 bytes, not runs.
#pragma once

#include <algorithm>

#include "chip/hbm/timing.h"

namespace memwall::chip {

class WriteBatching {
public:
    WriteBatching(const device::HbmParams& params, const HbmTiming& timing)
        : high_(params.write_high_watermark * 64 / params.burst_bytes),
          low_(params.write_low_watermark * 64 / params.burst_bytes),
          idle_drain_(timing.edge_at(params.write_idle_drain_ns * 1e3)),
          prepare_(timing.rp + timing.gang_spread + timing.rcd[kWrite]),
          pitch_(timing.pitch) {}

    [[nodiscard]] Direction direction() const { return direction_; }
    [[nodiscard]] static constexpr Direction other(Direction d) { return d == kRead ? kWrite : kRead; }
    /// Rows of the other direction may be opened: always for reads behind a batch of writes, and shortly before one.
    [[nodiscard]] bool prepares() const { return direction_ == kWrite || preparing_; }
    [[nodiscard]] Clk turn_at() const { return turn_at_; }

    /// What waits, in bursts, and the lanes that transfer.
    struct Queues {
        std::int32_t waiting[2];
        std::int32_t in_service;  ///< bursts, of the present direction
        int lanes;
        Clk reads_gone_at;  ///< since when neither waits nor transfers a read
    };
    /// Decides anew; true when `prepares` changed.
    bool decide(const Queues& q, Clk now) {
        if (direction_ == kWrite) {
            turn_at_ = end_of_batch(q, now);
            return false;
        }
        const bool reads = q.waiting[kRead] > 0 || q.lanes > 0;
        const bool was_preparing = preparing_;
        if (q.waiting[kWrite] >= high_ && !preparing_) {
            preparing_ = true;
            prepared_at_ = now + prepare_;
        }
        turn_at_ = kNeverClk;
        if (preparing_)
            turn_at_ = reads ? std::max(prepared_at_, now) : now;
        else if (!reads && q.waiting[kWrite] > 0)
            turn_at_ = std::max(now, q.reads_gone_at + idle_drain_);
        return preparing_ != was_preparing;
    }
    void turn() {
        direction_ = other(direction_);
        preparing_ = false;
        turn_at_ = kNeverClk;
    }

private:
    [[nodiscard]] Clk end_of_batch(const Queues& q, Clk now) const {
        if (q.waiting[kRead] == 0 || q.waiting[kWrite] > low_) return kNeverClk;
        const std::int32_t excess = q.waiting[kWrite] + q.in_service - low_;
        if (excess <= 0 || q.lanes == 0) return now;
        return now + (excess + q.lanes - 1) / q.lanes * pitch_;
    }

    std::int32_t high_, low_;
    Clk idle_drain_, prepare_, pitch_;
    Direction direction_ = kRead;
    bool preparing_ = false;
    Clk prepared_at_ = 0;
    Clk turn_at_ = kNeverClk;
};

}  // namespace memwall::chip
