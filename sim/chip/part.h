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
#include <array>
#include <bit>
#include <cstdint>
#include <exception>
#include <string>
#include <systemc>
#include <vector>

#include "base/error.h"
#include "base/units.h"

namespace memwall::chip {

/// What one part tells another, or itself. `kind` is the receiver's own enumeration; payload and arg are its business.
struct Message {
    std::int64_t due_ps;
    std::uint32_t order;  ///< sender << 20 | the sender's sequence number
    std::uint32_t payload;
    std::uint32_t arg;
    std::uint32_t kind;
};

inline bool before(const Message& a, const Message& b) {
    return a.due_ps != b.due_ps ? a.due_ps < b.due_ps : a.order < b.order;
}

/// Messages on their way, of the whole chip: blocks of a few messages for one part and window, in a flat pool whose last
/// freed block is the next one used, so that what is in flight stays in the host's cache.
class MessagePool {
public:
    static constexpr std::uint32_t kNone = 0xFFFFFFFF;

    /// Adds a message to the list of blocks that begins at `head`; returns the new head.
    std::uint32_t put(const Message& message, std::uint32_t head) {
        if (head == kNone || blocks_[head].count == kPerBlock) {
            const std::uint32_t block = take_block();
            blocks_[block].next = head;
            blocks_[block].count = 0;
            head = block;
        }
        Block& block = blocks_[head];
        block.messages[block.count++] = message;
        return head;
    }
    /// Appends the messages of the list to `out`, block by block, and frees it.
    void take_list(std::uint32_t head, std::vector<Message>& out) {
        while (head != kNone) {
            Block& block = blocks_[head];
            const std::uint32_t next = block.next;
            if (next != kNone) __builtin_prefetch(&blocks_[next]);
            out.insert(out.end(), block.messages, block.messages + block.count);
            block.next = free_;
            free_ = head;
            head = next;
        }
    }

private:
    static constexpr std::uint32_t kPerBlock = 5;  // 128 bytes
    struct alignas(64) Block {
        Message messages[kPerBlock];
        std::uint32_t next;
        std::uint32_t count;
    };

    std::uint32_t take_block() {
        if (free_ == kNone) {
            blocks_.emplace_back();
            return static_cast<std::uint32_t>(blocks_.size() - 1);
        }
        const std::uint32_t block = free_;
        free_ = blocks_[block].next;
        return block;
    }

    std::vector<Block> blocks_;
    std::uint32_t free_ = kNone;
};

/// The grid that all parts share.
struct Grid {
    std::int64_t step_ps = 20'000;
    std::int64_t lookahead_ps = 20'000;  ///< no path between two parts is shorter; the step is at most this
    std::int64_t tick = 0;  ///< the window in progress
    MessagePool pool;
    std::uint64_t activations = 0;
    std::uint64_t messages = 0;
    /// The first error that a part met: all parts then fall silent, and the run ends with it.
    std::exception_ptr failure;
};

/// Messages of one part by the window in which they are due: a ring of lists, and a heap for what lies beyond its horizon.
class Mailbox {
public:
    static constexpr std::int64_t kHorizon = 128;  // windows: 2.5 us at a step of 20 ns, several DRAM round trips

    Mailbox() { heads_.fill(MessagePool::kNone); }
    void push(MessagePool& pool, std::int64_t tick, std::int64_t now_tick, const Message& message);
    /// Moves the messages of window `tick` into `out`, in no order.
    void take(MessagePool& pool, std::int64_t tick, std::vector<Message>& out);
    /// The first window after `tick` that has a message; the largest number when there is none.
    [[nodiscard]] std::int64_t next_tick(std::int64_t tick) const;

private:
    struct Distant {
        std::int64_t tick;
        Message message;
    };
    std::array<std::uint32_t, kHorizon> heads_;
    std::uint64_t occupied_[2] = {0, 0};
    std::vector<Distant> distant_;  // heap, the soonest in front
};

/// Puts the messages of one window in order of time; `scratch` is for its use.
void sort_window(std::vector<Message>& messages, std::vector<Message>& scratch, std::int64_t begin_ps, std::int64_t step_ps);

/// Base of every part: a mailbox, a wake-up event and the window loop. Derive from PartOf<Self>.
class Part : public sc_core::sc_module {
public:
    /// Gives this part a message from another one; throws ModelError when it is due too soon (a broken lookahead).
    void deliver(const Message& message);

protected:
    Part(const sc_core::sc_module_name& name, Grid& grid, std::uint32_t id);

    [[nodiscard]] std::uint32_t next_order() { return id_ << 20 | (sequence_++ & 0xFFFFF); }
    void send(Part& to, std::int64_t due_ps, std::uint32_t kind, std::uint32_t payload, std::uint32_t arg = 0) {
        to.deliver({due_ps, next_order(), payload, arg, kind});
    }
    /// A message to itself: may be due within the current window.
    void post(std::int64_t due_ps, std::uint32_t kind, std::uint32_t payload, std::uint32_t arg = 0);
    /// True when nothing else happens at this part up to and including `at_ps`, within this window: a chain of actions
    /// that has reached that time may go on without being put back into the queue.
    [[nodiscard]] bool quiet_until(std::int64_t at_ps) const {
        return at_ps < window_end_ps_ && (local_.empty() || local_.front().due_ps > at_ps) &&
               (work_next_ == work_.size() || work_[work_next_].due_ps > at_ps);
    }
    /// Asks to be woken in the window of `due_ps`, without a message.
    void wake_at(std::int64_t due_ps);

    void open_window();
    Message take_local();
    void close_window();
    [[nodiscard]] const sc_core::sc_event& wake_event() const { return wake_; }

    Grid& grid_;
    std::uint32_t id_;
    std::int64_t window_end_ps_ = 0;
    std::int64_t tick_ = 0;
    std::vector<Message> work_;   // this window's messages from the mailbox, in order
    std::size_t work_next_ = 0;
    std::vector<Message> scratch_;
    std::vector<Message> local_;  // heap: messages to itself within the window

private:
    void schedule(std::int64_t tick);

    Mailbox mailbox_;
    sc_core::sc_event wake_;
    std::int64_t next_wake_tick_ = std::numeric_limits<std::int64_t>::max();
    std::int64_t asked_tick_ = std::numeric_limits<std::int64_t>::max();
    std::uint32_t sequence_ = 0;
};

/// The window loop, with the receiver's `handle(const Message&)` and `finish_window()` bound statically: no virtual call
/// per message.
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
    /// A message that will be handled soon: a part with large tables fetches what it will need, in three stages (what
    /// stage 0 fetched, stage 1 may read).
    void prefetch(const Message&, int) {}

private:
    static constexpr std::size_t kAhead = 4;

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
        for (;;) {
            if (!local_.empty() && (work_next_ == count || before(local_.front(), work_[work_next_]))) {
                self.handle(take_local());
            } else if (work_next_ < count) {
                for (int stage = 0; stage < 3; ++stage) {
                    const std::size_t ahead = work_next_ + kAhead * static_cast<std::size_t>(3 - stage);
                    if (ahead < count) self.prefetch(work_[ahead], stage);
                }
                const Message message = work_[work_next_++];
                self.handle(message);
            } else {
                break;
            }
            ++grid_.messages;
        }
        self.finish_window();
        close_window();
    }
};

}  // namespace memwall::chip
