// How the parts of the chip keep time together.
//
// A part is an SC_METHOD that wakes on a common grid whose step, the *lookahead*, is the smallest latency of any path
// between two parts. Messages carry the exact picosecond at which they are due. Because nothing that a part sends can
// be due sooner than one lookahead later, everything that falls into a window is known when the window opens: a part
// handles its whole window in exact time order and then sleeps until its next message. This is conservative
// lookahead (Chandy and Misra, 1979) inside one process: many wake-ups coincide, and no result depends on the step.
//
// Order is total: by due time, then by sender, then by the sender's own sequence. Nothing depends on the order in which
// SystemC happens to run two parts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <systemc>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "chip/message.h"

namespace memwall::chip {

/// The grid that all parts share.
struct Grid {
    static constexpr std::int64_t kLeastStepPs = 100;  ///< for tick_of

    std::int64_t lookahead_ps = 20'000;  ///< no path between two parts is shorter; the step is at most this
    std::int64_t tick = 0;               ///< the window in progress
    MessagePool pool;
    std::uint64_t activations = 0;
    std::uint64_t messages = 0;
    /// The first error that a part met: all parts then fall silent, and the run ends with it.
    std::exception_ptr failure;

    explicit Grid(std::int64_t step = 20'000) { set_step(step); }
    [[nodiscard]] std::int64_t step_ps() const { return step_ps_; }
    void set_step(std::int64_t step) {
        step_ps_ = step;
        reciprocal_ = (1ULL << kReciprocalBits) / static_cast<std::uint64_t>(step) + 1;
    }
    /// The window that contains `at_ps`, which is not before the one in progress.
    [[nodiscard]] std::int64_t tick_of(std::int64_t at_ps) const {
        const std::int64_t ahead = at_ps - tick * step_ps_;
        // Nearly always a few windows away. The product is exact enough there: its error, ahead / 2^48 windows at most,
        // is less than what divides two windows, 1 / step.
        if (ahead < kNear)
            return tick + static_cast<std::int64_t>(static_cast<std::uint64_t>(ahead) * reciprocal_ >> kReciprocalBits);
        return at_ps / step_ps_;
    }

private:
    static constexpr int kReciprocalBits = 48;
    static constexpr std::int64_t kNear = 1
                                          << 22;  // ps; the product stays below 2^64 for any step from kLeastStepPs on

    std::int64_t step_ps_;
    std::uint64_t reciprocal_;
};

/// Base of every part: a mailbox, a wake-up event and the window loop. Derive from PartOf<Self>.
class Part : public sc_core::sc_module {
public:
    /// Gives this part a message from another one; throws ModelError when it is due too soon (a broken lookahead).
    void deliver(const Message& message) {
        if (message.due_ps < (grid_.tick + 1) * grid_.step_ps()) refuse(message);
        const std::int64_t tick = grid_.tick_of(message.due_ps);
        mailbox_.push(grid_.pool, tick, grid_.tick, {message, tick * grid_.step_ps()});
        schedule(tick);
    }
    /// The same for a sender whose messages to this part are due in the order in which it sends them, as a port's are:
    /// they queue in a lane and need no sorting. One sender only may use it, for messages of kind 0.
    void deliver_in_order(const LaneMessage& message) {
        if (message.due_ps < (grid_.tick + 1) * grid_.step_ps() || message.due_ps < lane_last_ps_)
            refuse(message.message());
        const std::int64_t tick = grid_.tick_of(message.due_ps);
        lane_last_ps_ = message.due_ps;
        lane_.push(message);
        schedule(tick);
    }

protected:
    Part(const sc_core::sc_module_name& name, Grid& grid, std::uint32_t id);

    [[nodiscard]] std::uint32_t next_order() { return id_ << 20 | (sequence_++ & 0xFFFFF); }
    void send(Part& to, std::int64_t due_ps, std::uint32_t kind, std::uint32_t payload, std::uint32_t arg = 0) {
        to.deliver({due_ps, next_order(), payload, arg, kind});
    }
    void send_in_order(Part& to, std::int64_t due_ps, std::uint32_t payload) {
        to.deliver_in_order({due_ps, next_order(), payload});
    }
    /// A message to itself: may be due within the current window.
    void post(std::int64_t due_ps, std::uint32_t kind, std::uint32_t payload, std::uint32_t arg = 0);
    /// True when nothing else happens at this part up to and including `at_ps`, within this window: a chain of actions
    /// that has reached that time may go on without being put back into the queue.
    [[nodiscard]] bool quiet_until(std::int64_t at_ps) const {
        return at_ps < window_end_ps_ && next_key() >> (WaitingMessage::kOrderBits + WaitingMessage::kKindBits) >
                                             static_cast<std::uint64_t>(at_ps - window_begin_ps_);
    }
    /// Asks to be woken in the window of `due_ps`, without a message.
    void wake_at(std::int64_t due_ps);

    void open_window();
    Message take_local();
    LaneMessage take_lane() {
        const LaneMessage message = lane_.front();
        lane_.pop();
        look_at_lane();
        return message;
    }
    void close_window();
    /// The soonest of what is left of this window.
    [[nodiscard]] std::uint64_t next_key() const { return std::min({work_key(), local_key(), lane_key_}); }
    [[nodiscard]] std::uint64_t work_key() const {
        return work_next_ < work_.size() ? work_[work_next_].key : WaitingMessage::kNever;
    }
    [[nodiscard]] std::uint64_t local_key() const {
        return local_.empty() ? WaitingMessage::kNever : local_.front().key;
    }
    [[nodiscard]] const sc_core::sc_event& wake_event() const { return wake_; }

    Grid& grid_;
    std::uint32_t id_;
    std::int64_t window_begin_ps_ = 0, window_end_ps_ = 0;
    std::int64_t tick_ = 0;
    std::vector<WaitingMessage> work_;  // this window's messages from the mailbox, in order
    std::size_t work_next_ = 0;
    std::vector<WaitingMessage> local_;                // heap: messages to itself within the window
    RingQueue<LaneMessage> lane_;                      // in order by itself, of all windows
    std::uint64_t lane_key_ = WaitingMessage::kNever;  // of its first, when that is due in this window

private:
    void schedule(std::int64_t tick) {
        if (tick < next_wake_tick_) notify(tick);
    }
    void notify(std::int64_t tick);
    void look_at_lane() {
        lane_key_ = !lane_.empty() && lane_.front().due_ps < window_end_ps_
                        ? WaitingMessage(lane_.front().message(), window_begin_ps_).key
                        : WaitingMessage::kNever;
    }
    [[noreturn]] void refuse(const Message& message) const;

    Mailbox mailbox_;
    sc_core::sc_event wake_;
    std::int64_t next_wake_tick_ = Mailbox::kNoTick;
    std::int64_t asked_tick_ = Mailbox::kNoTick;
    std::int64_t lane_last_ps_ = 0;
    std::uint32_t sequence_ = 0;
    std::vector<WaitingMessage> scratch_;
};

/// The window loop, with the receiver's `handle(const Message&)` and `finish_window()` bound statically: no virtual
/// call per message.
template <class Self>
class PartOf : public Part {
public:
    SC_HAS_PROCESS(PartOf);
    PartOf(const sc_core::sc_module_name& name, Grid& grid, std::uint32_t id) : Part(name, grid, id) {
        SC_METHOD(on_wake);
        sensitive << wake_event();
        dont_initialize();
    }
    void finish_window() {}
    /// A message that will be handled soon: a part with large tables fetches what it will need, in stages (what stage 0
    /// fetched, stage 1 may read).
    void prefetch(const WaitingMessage&, int) {}
    // The same for messages in the lane, of a part that has one.
    void handle_in_order(std::uint32_t, std::int64_t) {}
    void prefetch_in_order(std::uint32_t) {}

private:
    static constexpr std::size_t kAhead = 10;
    static constexpr int kStages = 3;
    static constexpr std::size_t ahead_of(int stage) { return kAhead * static_cast<std::size_t>(kStages - stage); }

    void on_wake() {
        if (grid_.failure) return;
        try {
            run_window();
        } catch (...) {
            grid_.failure = std::current_exception();  // SystemC would turn it into a report of its own
        }
    }

    void run_window() {
        auto& self = static_cast<Self&>(*this);
        open_window();
        const std::size_t count = work_.size();
        for (int stage = 0; stage < kStages; ++stage) {
            for (std::size_t i = 0; i < std::min(count, ahead_of(stage)); ++i) self.prefetch(work_[i], stage);
        }
        for (std::size_t i = 0; i < std::min(lane_.size(), kAhead); ++i) self.prefetch_in_order(lane_[i].payload);
        for (;; ++grid_.messages) {
            const std::uint64_t work = work_key(), local = local_key();
            if (std::min({work, local, lane_key_}) == WaitingMessage::kNever) break;
            if (work < local && work < lane_key_) {
                for (int stage = 0; stage < kStages; ++stage) {
                    const std::size_t soon = work_next_ + ahead_of(stage);
                    if (soon < count) self.prefetch(work_[soon], stage);
                }
                self.handle(work_[work_next_++].message(window_begin_ps_));
            } else if (lane_key_ < local) {
                if (lane_.size() > kAhead) self.prefetch_in_order(lane_[kAhead].payload);
                const LaneMessage message = take_lane();
                self.handle_in_order(message.payload, message.due_ps);
            } else {
                self.handle(take_local());
            }
        }
        self.finish_window();
        close_window();
    }
};

}  // namespace memwall::chip
