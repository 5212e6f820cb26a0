#include "chip/part.h"

#include <fmt/core.h>

namespace memwall::chip {

namespace {

constexpr std::int64_t kNoTick = std::numeric_limits<std::int64_t>::max();

constexpr auto later = [](const Message& a, const Message& b) { return before(b, a); };

}  // namespace

void Mailbox::push(MessagePool& pool, std::int64_t tick, std::int64_t now_tick, const Message& message) {
    if (tick - now_tick >= kHorizon) {
        distant_.push_back({tick, message});
        std::push_heap(distant_.begin(), distant_.end(), [](const Distant& a, const Distant& b) { return a.tick > b.tick; });
        return;
    }
    const auto slot = static_cast<std::size_t>(tick & (kHorizon - 1));
    heads_[slot] = pool.put(message, heads_[slot]);
    occupied_[slot >> 6] |= 1ULL << (slot & 63);
}

void Mailbox::take(MessagePool& pool, std::int64_t tick, std::vector<Message>& out) {
    const auto slot = static_cast<std::size_t>(tick & (kHorizon - 1));
    pool.take_list(heads_[slot], out);
    heads_[slot] = MessagePool::kNone;
    occupied_[slot >> 6] &= ~(1ULL << (slot & 63));
    while (!distant_.empty() && distant_.front().tick <= tick) {
        out.push_back(distant_.front().message);
        std::pop_heap(distant_.begin(), distant_.end(), [](const Distant& a, const Distant& b) { return a.tick > b.tick; });
        distant_.pop_back();
    }
}

namespace {

/// Insertion sort: right for the nearly sorted.
void settle(std::vector<Message>& messages) {
    for (std::size_t i = 1; i < messages.size(); ++i) {
        const Message message = messages[i];
        std::size_t j = i;
        for (; j > 0 && before(message, messages[j - 1]); --j) messages[j] = messages[j - 1];
        messages[j] = message;
    }
}

}  // namespace

void sort_window(std::vector<Message>& messages, std::vector<Message>& scratch, std::int64_t begin_ps, std::int64_t step_ps) {
    constexpr std::size_t kFew = 24, kBins = 256;
    if (messages.size() > kFew) {
        // Due times of a busy part lie densely in its window: a counting sort into bins leaves next to nothing to settle.
        std::uint32_t first[kBins + 1] = {};
        const double scale = static_cast<double>(kBins) / static_cast<double>(step_ps);
        const auto bin = [&](const Message& m) {
            return std::min<std::size_t>(kBins - 1, static_cast<std::size_t>(static_cast<double>(std::max<std::int64_t>(0, m.due_ps - begin_ps)) * scale));
        };
        for (const Message& m : messages) ++first[bin(m) + 1];
        for (std::size_t i = 1; i <= kBins; ++i) first[i] += first[i - 1];
        scratch.resize(messages.size());
        for (const Message& m : messages) scratch[first[bin(m)]++] = m;
        messages.swap(scratch);
    }
    settle(messages);
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

Part::Part(const sc_core::sc_module_name& name, Grid& grid, std::uint32_t id)
    : sc_core::sc_module(name), grid_(grid), id_(id) {}

void Part::deliver(const Message& message) {
    const std::int64_t tick = message.due_ps / grid_.step_ps;
    if (tick <= grid_.tick) {
        throw ModelError(fmt::format("{}: a message is due at {} ps, inside the window in progress (it ends at {} ps): a path "
                                     "is shorter than the lookahead",
                                     name(), message.due_ps, (grid_.tick + 1) * grid_.step_ps));
    }
    mailbox_.push(grid_.pool, tick, grid_.tick, message);
    schedule(tick);
}

void Part::post(std::int64_t due_ps, std::uint32_t kind, std::uint32_t payload, std::uint32_t arg) {
    const Message message{due_ps, next_order(), payload, arg, kind};
    if (due_ps < window_end_ps_) {
        local_.push_back(message);
        std::push_heap(local_.begin(), local_.end(), later);
    } else {
        mailbox_.push(grid_.pool, due_ps / grid_.step_ps, tick_, message);
    }
}

Message Part::take_local() {
    std::pop_heap(local_.begin(), local_.end(), later);
    const Message message = local_.back();
    local_.pop_back();
    return message;
}

void Part::wake_at(std::int64_t due_ps) { asked_tick_ = std::min(asked_tick_, std::max(due_ps / grid_.step_ps, tick_ + 1)); }

void Part::open_window() {
    ++grid_.activations;
    tick_ = static_cast<std::int64_t>(sc_core::sc_time_stamp().value()) / grid_.step_ps;
    grid_.tick = tick_;
    window_end_ps_ = (tick_ + 1) * grid_.step_ps;
    next_wake_tick_ = kNoTick;
    asked_tick_ = kNoTick;
    work_.clear();
    work_next_ = 0;
    mailbox_.take(grid_.pool, tick_, work_);
    sort_window(work_, scratch_, tick_ * grid_.step_ps, grid_.step_ps);
}

void Part::close_window() {
    const std::int64_t tick = std::min(mailbox_.next_tick(tick_), asked_tick_);
    if (tick != kNoTick) schedule(tick);
}

void Part::schedule(std::int64_t tick) {
    if (tick >= next_wake_tick_) return;
    next_wake_tick_ = tick;
    // SystemC keeps the earlier of two notifications of one event, which is what a part wants.
    const auto now = static_cast<std::int64_t>(sc_core::sc_time_stamp().value());
    wake_.notify(sc_core::sc_time::from_value(static_cast<sc_dt::uint64>(tick * grid_.step_ps - now)));
}

}  // namespace memwall::chip

/// SystemC's library wants one; memwall elaborates its chips itself and never calls it.
int sc_main(int, char*[]) { return 1; }
