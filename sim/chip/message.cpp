#include "chip/message.h"

#include <algorithm>

namespace memwall::chip {

namespace {

/// Insertion sort: right for the nearly sorted.
void settle(std::vector<WaitingMessage>& messages) {
    for (std::size_t i = 1; i < messages.size(); ++i) {
        if (messages[i - 1].key < messages[i].key) continue;
        const WaitingMessage message = messages[i];
        std::size_t j = i;
        for (; j > 0 && message.key < messages[j - 1].key; --j) messages[j] = messages[j - 1];
        messages[j] = message;
    }
}

}  // namespace

void Mailbox::push_distant(std::int64_t tick, const WaitingMessage& message) {
    distant_.push_back({tick, message});
    std::push_heap(distant_.begin(), distant_.end(),
                   [](const Distant& a, const Distant& b) { return a.tick > b.tick; });
}

void Mailbox::take(MessagePool& pool, std::int64_t tick, std::vector<WaitingMessage>& out) {
    const auto slot = static_cast<std::size_t>(tick & (kHorizon - 1));
    pool.take_list(heads_[slot], out);
    heads_[slot] = MessagePool::kNone;
    occupied_[slot >> 6] &= ~(1ULL << (slot & 63));
    while (!distant_.empty() && distant_.front().tick <= tick) {
        out.push_back(distant_.front().message);
        std::pop_heap(distant_.begin(), distant_.end(),
                      [](const Distant& a, const Distant& b) { return a.tick > b.tick; });
        distant_.pop_back();
    }
}

std::int64_t Mailbox::next_tick(std::int64_t tick) const {
    std::int64_t first = distant_.empty() ? kNoTick : distant_.front().tick;
    // Rotate the occupancy so that bit 0 is the window after `tick`.
    const auto start = static_cast<unsigned>((tick + 1) & (kHorizon - 1));
    for (unsigned offset = 0; offset < kHorizon;) {
        const unsigned slot = (start + offset) & (kHorizon - 1);
        const std::uint64_t word = occupied_[slot >> 6] >> (slot & 63);
        const unsigned span = 64 - (slot & 63);
        if (word != 0) {
            const unsigned found = offset + static_cast<unsigned>(std::countr_zero(word));
            if (found < kHorizon) first = std::min(first, tick + 1 + static_cast<std::int64_t>(found));
            break;
        }
        offset += span;
    }
    return first;
}

void sort_window(std::vector<WaitingMessage>& messages, std::vector<WaitingMessage>& scratch, std::int64_t step_ps) {
    constexpr std::size_t kFew = 16, kMostBins = 512;
    const std::size_t count = messages.size();
    if (count > kFew) {
        // Due times of a busy part lie densely in its window: a counting sort into about as many bins as there are
        // messages leaves next to nothing to settle.
        const auto width = std::bit_width(static_cast<std::uint64_t>(step_ps - 1));
        const auto wanted = std::bit_width(std::min(count, kMostBins) - 1);
        const int shift = WaitingMessage::kOrderBits + WaitingMessage::kKindBits +
                          std::max(0, static_cast<int>(width) - static_cast<int>(wanted));
        std::uint32_t first[kMostBins + 1] = {};
        for (const WaitingMessage& m : messages) ++first[(m.key >> shift) + 1];
        const auto bins = static_cast<std::size_t>(static_cast<std::uint64_t>(step_ps - 1)
                                                       << (WaitingMessage::kOrderBits + WaitingMessage::kKindBits) >>
                                                   shift) +
                          1;
        for (std::size_t i = 1; i < bins; ++i) first[i] += first[i - 1];
        scratch.resize(count);
        for (const WaitingMessage& m : messages) scratch[first[m.key >> shift]++] = m;
        messages.swap(scratch);
    }
    settle(messages);
}

}  // namespace memwall::chip
