// The banks of one pseudo-channel and the requests that wait for them.
//
// A request waits in its bank's list (one per direction, oldest first); masks over the banks answer the scheduler's
// questions ("who has a row hit") without touching the lists. All storage is laid out at construction.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "chip/hbm/timing.h"

namespace memwall::chip {

using NodeIndex = std::int16_t;
inline constexpr NodeIndex kNoNode = -1;
inline constexpr std::int32_t kClosed = -1;
inline constexpr Clk kFarClk = 1000000;  ///< longer than any timing

/// Age: a smaller number is older. Counts the requests of one pseudo-channel, which stay far below its range.
using Order = std::uint32_t;

/// A request in the queues.
struct DramNode {
    Clk visible;  ///< the scheduler sees it from here
    Order order;
    std::uint32_t tag;
    std::int32_t row;
    std::uint16_t bursts;  ///< still to transfer
    std::uint16_t all_bursts;
    NodeIndex next, previous;
    std::uint8_t bank;
    Direction direction;
};
static_assert(sizeof(DramNode) == 32);

/// One cache line: a chip has thousands of banks.
struct alignas(64) Bank {
    Clk act_ok = 0;          ///< earliest ACT of a closed bank, earliest by rc of an open one
    Clk pre_ok = 0;          ///< earliest PRE
    Clk pre_at = kNeverClk;  ///< the row is wanted no more and will be closed then
    Clk opened = -kFarClk;   ///< the last ACT
    Clk refresh_until = 0;
    std::int32_t row = kClosed;
    NodeIndex head[2] = {kNoNode, kNoNode}, tail[2] = {kNoNode, kNoNode};
    NodeIndex hit[2] = {kNoNode, kNoNode};  ///< oldest request for the open row
    bool fresh = false;                     ///< no column since the ACT
    bool conflict = false;                  ///< the bank was closed to make room for another row
};
static_assert(sizeof(Bank) == 64);

class BankTable {
public:
    /// `hit_age_cap`: a bank whose oldest request has waited longer gives younger row hits no precedence.
    BankTable(int banks, int nodes, Clk hit_age_cap);

    [[nodiscard]] Bank& operator[](int bank) { return banks_[static_cast<std::size_t>(bank)]; }
    [[nodiscard]] const Bank& operator[](int bank) const { return banks_[static_cast<std::size_t>(bank)]; }
    [[nodiscard]] DramNode& node(NodeIndex index) { return nodes_[static_cast<std::size_t>(index)]; }
    [[nodiscard]] const DramNode& node(NodeIndex index) const { return nodes_[static_cast<std::size_t>(index)]; }
    [[nodiscard]] int size() const { return static_cast<int>(banks_.size()); }

    [[nodiscard]] std::uint64_t pending(Direction d) const { return pending_[d]; }
    [[nodiscard]] std::uint64_t hits(Direction d) const { return hits_[d]; }
    /// Requests that wait in `bank`, both directions.
    [[nodiscard]] int waiting(int bank) const { return waiting_[static_cast<std::size_t>(bank)]; }

    [[nodiscard]] NodeIndex allocate();  ///< kNoNode: full
    void release(NodeIndex index);
    /// Puts the request into its bank's list, by age.
    void insert(NodeIndex index);
    void remove(NodeIndex index);
    /// Finds the row hits of `bank` anew.
    void find_hits(int bank, Clk now);
    void open(int bank, std::int32_t row, Clk now);
    void close(int bank);

private:
    void find_hit(int bank, Direction d, Clk now);

    std::vector<Bank> banks_;
    std::vector<DramNode> nodes_;
    std::vector<std::int32_t> waiting_;
    std::uint64_t pending_[2] = {0, 0}, hits_[2] = {0, 0};
    NodeIndex free_ = kNoNode;
    Clk hit_age_cap_;
};

/// Calls `visit(bank)` for every bank of `mask`.
template <class Visit>
inline void for_each_bank(std::uint64_t mask, Visit&& visit) {
    for (; mask != 0; mask &= mask - 1) visit(std::countr_zero(mask));
}

constexpr std::uint64_t bit(int bank) {
    return 1ULL << bank;
}

}  // namespace memwall::chip
