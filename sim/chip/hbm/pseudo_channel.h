// One HBM pseudo-channel: controller queue, scheduler, bank timing, data bus. Plain C++; the stack wraps it.
//
// A pseudo-channel of HBM3 is 32 data pins with banks of its own (2 SIDs of 4 bank groups of 4 banks in an 8-high
// stack, 1 KiB pages, 32-byte bursts). The controller is modelled as the simulators model it, FR-FCFS over a queue of
// 64-byte entries, with what silicon needs beyond them: refresh of single banks around the queue, writes in batches
// with their rows opened ahead, and bank groups and SIDs paired so that the column bus stays full.
//
// Decisions are taken at run level: a run (consecutive bursts in one row) takes a lane of the column bus (column_bus.h)
// for its whole length, unless the bus turns, its SID changes or all banks refresh, which cut it at a burst. In order
// of time, and at one clock in this order: refresh, arrivals, ends of runs, turns of the bus, one ACT, one column.
// - ACT: of the banks whose requests need a row, the first that may; among several the oldest request. Its PRE goes as
//   soon as the row is wanted no more: no request for it, and one for another row.
// - Column: of the banks with an open row that is asked for, the first that may; among several the oldest request. The
//   lanes stay in one SID until it offers nothing and another SID could fill the lanes, or for at most the age cap.
// - Age cap: a request that has waited four times as long as the read queue takes to drain at peak goes before younger
//   row hits of its bank.
//
// Engine time is whole command clocks; arrivals are rounded up to one. Simulated results do not depend on how the
// caller cuts time into calls of `advance`.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/observations.h"
#include "base/ring_queue.h"
#include "base/units.h"
#include "chip/hbm/activates.h"
#include "chip/hbm/banks.h"
#include "chip/hbm/bus_account.h"
#include "chip/hbm/column_bus.h"
#include "chip/hbm/refresh.h"
#include "chip/hbm/timing.h"
#include "chip/hbm/write_batching.h"
#include "device/device.h"

namespace memwall::chip {

/// A run of consecutive bursts in one row.
struct DramRequest {
    std::uint32_t tag;          ///< given back on completion
    std::uint32_t page;         ///< page number inside the pseudo-channel; see BankMap
    std::uint16_t first_burst;  ///< first + bursts <= gang_page_bytes() / burst_bytes
    std::uint16_t bursts;
    bool write;
    Ps arrival;  ///< at the controller
};

struct DramCompletion {
    std::uint32_t tag;
    bool write;
    Ps at;  ///< last data beat on the pins; for a write, its queue entries are free
};

class PseudoChannel {
public:
    PseudoChannel(const device::HbmParams& params, std::uint32_t seed);

    /// Beyond the queue's capacity requests wait in front of it, in order: the scheduler does not see them. How many
    /// may is the caller's to bound. An arrival is never before the `until` of an earlier `advance`.
    void push(const DramRequest& request);
    /// Takes every decision due before `until`. Completions may carry times after `until`.
    void advance(Ps until, std::vector<DramCompletion>& done);
    /// When `advance` would next decide something; kNever when no request waits (refresh alone wakes nobody).
    [[nodiscard]] Ps next_due() const;

    void observe(Ps now, ChannelObservation& out) const;
    /// Cumulative up to `now`.
    [[nodiscard]] HbmTime time(Ps now) const;
    /// Entries of 64 bytes in use.
    [[nodiscard]] int queued_entries(bool write) const { return entries_[write ? kWrite : kRead]; }

private:
    /// The cached answer to "what next, and when".
    struct Plan {
        Clk at = kNeverClk;
        int bank = -1;
        std::uint64_t order = 0;  ///< age, after what goes before age
        bool known = false;
    };

    [[nodiscard]] std::int32_t entries_of(int bursts) const { return (bursts + entry_bursts_ - 1) / entry_bursts_; }
    [[nodiscard]] Direction direction() const { return batching_.direction(); }
    /// Nothing waits and nothing transfers (requests may be on their way).
    [[nodiscard]] bool quiet() const {
        return bus_.active() == 0 && (banks_.pending(kRead) | banks_.pending(kWrite)) == 0;
    }
    [[nodiscard]] bool working() const { return bus_.active() > 0 || banks_.pending(direction()) != 0; }

    Clk next_work();
    void decide_at(Clk now, std::vector<DramCompletion>& done);

    // Arrivals.
    void arrive();
    void enqueue(const DramRequest& request, Clk soonest);
    void admit_backlog(Direction d);
    [[nodiscard]] NodeIndex& arriving(std::size_t at) { return arriving_[at & (arriving_.size() - 1)]; }
    [[nodiscard]] Clk next_arrival() const;

    // Rows (rows.cpp).
    void plan_row();
    [[nodiscard]] Direction row_direction(int bank) const;
    void consider_row(int bank);
    void update_bank(int bank);
    void activate(int bank);
    void precharge(int bank);

    // Columns (columns.cpp).
    void plan_column();
    void plan_hop(Clk not_after);
    void consider_column(int bank);
    void new_hit(int bank);
    void column(int bank);
    void end_run(std::vector<DramCompletion>& done);
    void cut_runs();
    void put_off(const Lane& lane);
    void settle(Clk now);

    // Direction and refresh (turns.cpp).
    void decide_direction();
    void turn();
    void update_all_banks();
    void refresh_before(Clk work);
    void refresh_idle_banks();
    void release_forced();
    void force_refresh();
    void refresh_bank(int bank);
    void refresh_all_banks();

    HbmTiming timing_;
    BankMap map_;
    RefreshSchedule refresh_;
    BankTable banks_;
    ColumnBus bus_;
    ActivateWindow activates_;
    WriteBatching batching_;
    BusAccount account_;
    bool close_pages_;
    int entry_bursts_;
    int page_bursts_, burst_bytes_;
    std::int32_t capacity_[2];
    Clk age_cap_;

    Clk now_ = 0;
    Clk next_ = kNeverClk;  ///< of the work known at the end of `advance`
    Order orders_ = 0;
    std::vector<NodeIndex> arriving_;  ///< a ring, by time of visibility
    std::size_t arriving_head_ = 0, arriving_size_ = 0;
    Clk next_arrival_ = kNeverClk;
    RingQueue<DramRequest> backlog_[2];  ///< in front of a full queue
    std::int32_t entries_[2] = {0, 0};
    std::int32_t waiting_bursts_[2] = {0, 0};
    std::uint64_t row_wanted_ = 0;             ///< banks that need an ACT (and a PRE before it if open)
    std::uint64_t forced_ = 0;                 ///< banks kept free for an overdue refresh
    std::array<Clk, 64> row_ok_;               ///< of those: earliest ACT by the bank alone
    std::array<std::uint64_t, 64> row_order_;  ///< of those: as in Plan
    Plan row_, column_;
    Clk free_slot_ = 0;  ///< of the column plan: the lanes' next free slot, by the bus alone
    bool hop_ = false;   ///< the planned column is in another SID: the lanes are cut for it
    Clk reads_gone_at_ = 0;

    std::uint64_t bytes_[2] = {0, 0};
    std::uint64_t row_hits_ = 0, row_misses_ = 0, row_conflicts_ = 0, activate_count_ = 0;
};

}  // namespace memwall::chip
