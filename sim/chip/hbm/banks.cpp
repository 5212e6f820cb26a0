#include "chip/hbm/banks.h"

#include <limits>
#include <string>

#include "base/error.h"

namespace memwall::chip {

BankTable::BankTable(int banks, int nodes, Clk hit_age_cap)
    : banks_(static_cast<std::size_t>(banks)),
      nodes_(static_cast<std::size_t>(nodes)),
      waiting_(static_cast<std::size_t>(banks), 0),
      hit_age_cap_(hit_age_cap) {
    if (nodes > std::numeric_limits<NodeIndex>::max()) {
        throw InputError("/hbm/read_queue_entries, /hbm/write_queue_entries", std::to_string(nodes) + " together",
                         "at most " + std::to_string(std::numeric_limits<NodeIndex>::max()));
    }
    for (int i = nodes; i-- > 0;) release(static_cast<NodeIndex>(i));
}

NodeIndex BankTable::allocate() {
    const NodeIndex index = free_;
    if (index != kNoNode) free_ = node(index).next;
    return index;
}

void BankTable::release(NodeIndex index) {
    node(index).next = free_;
    free_ = index;
}

void BankTable::insert(NodeIndex index) {
    DramNode& n = node(index);
    Bank& b = (*this)[n.bank];
    const Direction d = n.direction;
    NodeIndex before = b.tail[d];  // nearly always the youngest; a run that was cut short goes back to the front
    while (before != kNoNode && node(before).order > n.order) before = node(before).previous;
    n.previous = before;
    n.next = before == kNoNode ? b.head[d] : node(before).next;
    (before == kNoNode ? b.head[d] : node(before).next) = index;
    (n.next == kNoNode ? b.tail[d] : node(n.next).previous) = index;
    pending_[d] |= bit(n.bank);
    ++waiting_[n.bank];
    if (n.row != b.row) return;
    if (b.hit[d] == kNoNode || node(b.hit[d]).order > n.order) b.hit[d] = index;
    hits_[d] |= bit(n.bank);
}

void BankTable::remove(NodeIndex index) {
    const DramNode& n = node(index);
    Bank& b = (*this)[n.bank];
    const Direction d = n.direction;
    (n.previous == kNoNode ? b.head[d] : node(n.previous).next) = n.next;
    (n.next == kNoNode ? b.tail[d] : node(n.next).previous) = n.previous;
    if (b.head[d] == kNoNode) pending_[d] &= ~bit(n.bank);
    --waiting_[n.bank];
}

void BankTable::find_hits(int bank, Clk now) {
    find_hit(bank, kRead, now);
    find_hit(bank, kWrite, now);
}

void BankTable::find_hit(int bank, Direction d, Clk now) {
    Bank& b = (*this)[bank];
    NodeIndex found = kNoNode;
    if (b.row != kClosed && b.head[d] != kNoNode) {
        const DramNode& oldest = node(b.head[d]);
        const bool only_oldest = now - oldest.visible > hit_age_cap_;
        found = b.head[d];
        while (found != kNoNode && node(found).row != b.row) found = only_oldest ? kNoNode : node(found).next;
    }
    b.hit[d] = found;
    hits_[d] = found == kNoNode ? hits_[d] & ~bit(bank) : hits_[d] | bit(bank);
}

void BankTable::open(int bank, std::int32_t row, Clk now) {
    Bank& b = (*this)[bank];
    b.row = row;
    b.fresh = true;
    b.pre_at = kNeverClk;
    find_hits(bank, now);
}

void BankTable::close(int bank) {
    Bank& b = (*this)[bank];
    b.row = kClosed;
    b.pre_at = kNeverClk;
    b.hit[kRead] = b.hit[kWrite] = kNoNode;
    hits_[kRead] &= ~bit(bank);
    hits_[kWrite] &= ~bit(bank);
}

}  // namespace memwall::chip
