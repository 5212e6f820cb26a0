// A first-in-first-out queue over one block of memory that grows by doubling and never shrinks: no allocation once
// warm.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace memwall {

template <class Item>
class RingQueue {
public:
    [[nodiscard]] bool empty() const { return size_ == 0; }
    [[nodiscard]] std::size_t size() const { return size_; }
    Item& front() { return items_[head_]; }
    const Item& front() const { return items_[head_]; }

    /// The item `i` places behind the front, which is item 0.
    const Item& operator[](std::size_t i) const { return items_[(head_ + i) & (items_.size() - 1)]; }

    void push(Item item) {
        if (size_ == items_.size()) grow();
        items_[(head_ + size_++) & (items_.size() - 1)] = std::move(item);
    }
    void pop() {
        head_ = (head_ + 1) & (items_.size() - 1);
        --size_;
    }

private:
    void grow() {
        std::vector<Item> larger(items_.empty() ? 8 : items_.size() * 2);
        for (std::size_t i = 0; i < size_; ++i) larger[i] = std::move(items_[(head_ + i) & (items_.size() - 1)]);
        items_ = std::move(larger);
        head_ = 0;
    }

    std::vector<Item> items_;
    std::size_t head_ = 0, size_ = 0;
};

}  // namespace memwall
