// Messages between parts, and the queues in which they wait for their window of the common grid (see part.h).
//
// A simulated token sends 200 million messages, a layer of a prefill 240 million, so their bytes are what the host's
// caches see: a message in a queue is 16 bytes, whose first word orders it within its window.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/ring_queue.h"

namespace memwall::chip {

/// What one part tells another, or itself. `kind` is the receiver's own enumeration, less than 16; payload and arg are
/// its business.
struct Message {
    std::int64_t due_ps;
    std::uint32_t order;  ///< sender << 20 | the sender's sequence number
    std::uint32_t payload;
    std::uint32_t arg;
    std::uint32_t kind;
};

/// A message that waits for a known window. Keys order those of one window: by due time, then by sender and sequence.
struct WaitingMessage {
    static constexpr int kKindBits = 4, kOrderBits = 32;
    static constexpr std::uint64_t kNever = ~0ULL;

    std::uint64_t key;  ///< ps after the window's begin, order, kind
    std::uint32_t payload;
    std::uint32_t arg;

    WaitingMessage() = default;
    WaitingMessage(const Message& message, std::int64_t window_begin_ps)
        : key(static_cast<std::uint64_t>(message.due_ps - window_begin_ps) << (kOrderBits + kKindBits) |
              static_cast<std::uint64_t>(message.order) << kKindBits | message.kind),
          payload(message.payload),
          arg(message.arg) {}

    [[nodiscard]] std::uint32_t offset_ps() const {
        return static_cast<std::uint32_t>(key >> (kOrderBits + kKindBits));
    }
    [[nodiscard]] std::uint32_t kind() const { return static_cast<std::uint32_t>(key & ((1U << kKindBits) - 1)); }
    [[nodiscard]] Message message(std::int64_t window_begin_ps) const {
        return {window_begin_ps + offset_ps(), static_cast<std::uint32_t>(key >> kKindBits), payload, arg, kind()};
    }
};
static_assert(sizeof(WaitingMessage) == 16);

/// A message in a lane (see Part::deliver_in_order); its kind and arg are 0.
struct LaneMessage {
    std::int64_t due_ps;
    std::uint32_t order;
    std::uint32_t payload;

    [[nodiscard]] Message message() const { return {due_ps, order, payload, 0, 0}; }
};

/// Messages on their way, of the whole chip: blocks of a few messages for one part and window, in a flat pool whose
/// last freed block is the next one used, so that what is in flight stays in the host's cache.
class MessagePool {
public:
    static constexpr std::uint32_t kNone = 0xFFFFFFFF;

    /// Adds a message to the list of blocks that begins at `head`; returns the new head.
    std::uint32_t put(const WaitingMessage& message, std::uint32_t head) {
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
    void take_list(std::uint32_t head, std::vector<WaitingMessage>& out) {
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
    static constexpr std::uint32_t kPerBlock = 7;  // 120 bytes
    struct alignas(64) Block {
        WaitingMessage messages[kPerBlock];
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

/// Messages of one part by the window in which they are due: a ring of lists, and a heap for what lies beyond its
/// horizon.
class Mailbox {
public:
    static constexpr std::int64_t kHorizon = 128;  // windows: 2.5 us at a step of 20 ns, several DRAM round trips
    static constexpr std::int64_t kNoTick = std::numeric_limits<std::int64_t>::max();

    Mailbox() { heads_.fill(MessagePool::kNone); }
    void push(MessagePool& pool, std::int64_t tick, std::int64_t now_tick, const WaitingMessage& message) {
        if (tick - now_tick >= kHorizon) {
            push_distant(tick, message);
            return;
        }
        const auto slot = static_cast<std::size_t>(tick & (kHorizon - 1));
        heads_[slot] = pool.put(message, heads_[slot]);
        occupied_[slot >> 6] |= 1ULL << (slot & 63);
    }
    /// Moves the messages of window `tick` into `out`, in no order.
    void take(MessagePool& pool, std::int64_t tick, std::vector<WaitingMessage>& out);
    /// The first window after `tick` that has a message; kNoTick when there is none.
    [[nodiscard]] std::int64_t next_tick(std::int64_t tick) const;

private:
    struct Distant {
        std::int64_t tick;
        WaitingMessage message;
    };
    void push_distant(std::int64_t tick, const WaitingMessage& message);

    std::array<std::uint32_t, kHorizon> heads_;
    std::uint64_t occupied_[2] = {0, 0};
    std::vector<Distant> distant_;  // heap, the soonest in front
};

/// Puts the messages of one window, `step_ps` long, in order; `scratch` is for its use.
void sort_window(std::vector<WaitingMessage>& messages, std::vector<WaitingMessage>& scratch, std::int64_t step_ps);

}  // namespace memwall::chip
