#include "chip/sm/transfer.h"

#include <algorithm>

namespace memwall::chip {

namespace {

/// A page's slot in the pool of pages: an affine permutation scatters them as a cache that was filled and freed at
/// random would.
std::int64_t permute_page(std::int64_t page, std::int64_t pages) {
    std::int64_t factor = static_cast<std::int64_t>(static_cast<double>(pages) * 0.6180339887) | 1;
    auto gcd = [](std::int64_t a, std::int64_t b) {
        while (b != 0) {
            const std::int64_t r = a % b;
            a = b;
            b = r;
        }
        return a;
    };
    while (gcd(factor, pages) != 1) factor += 2;
    return page * factor % pages;
}

}  // namespace

BoxWalk::BoxWalk(const trace::Tensor& tensor, const std::array<std::int64_t, trace::kMaxRank>& origin,
                 const trace::Extents& box, std::uint32_t granule)
    : tensor_(&tensor), granule_(granule) {
    const int rank = tensor.rank;
    const std::int64_t bits = trace::bits_of(tensor.dtype);
    std::array<std::int64_t, trace::kMaxRank> extent{};
    bytes_ = 1;
    for (int d = 0; d < rank; ++d) {
        const auto i = static_cast<std::size_t>(d);
        origin_[i] = origin[i];
        extent[i] = std::max<std::int64_t>(0, std::min(box[i], tensor.shape[i] - origin[i]));
        bytes_ *= extent[i];
    }
    bytes_ = bytes_ * bits / 8;
    left_ = bytes_;
    // Merge inner dimensions into one run while the box spans them whole and they lie densely.
    int d = rank - 1;
    const auto last = static_cast<std::size_t>(d);
    run_bytes_ = extent[last] * bits / 8;
    inner_offset_bytes_ = origin_[last] * bits / 8;
    for (--d; d >= 0; --d) {
        const auto i = static_cast<std::size_t>(d);
        const bool paged = tensor.paged_dim == d;
        if (paged || inner_offset_bytes_ != 0 || tensor.stride_bytes[i] != run_bytes_) break;
        run_bytes_ *= extent[i];
        inner_offset_bytes_ += origin_[i] * tensor.stride_bytes[i];
    }
    dims_ = d + 1;
    for (int k = 0; k < dims_; ++k) count_[static_cast<std::size_t>(k)] = extent[static_cast<std::size_t>(k)];
    if (left_ == 0) return;
    run_begin_ = piece_.address = run_address();
    run_left_ = run_bytes_;
    cut_piece();
}

std::uint64_t BoxWalk::run_address() const {
    std::uint64_t address = tensor_->base + static_cast<std::uint64_t>(inner_offset_bytes_);
    const int paged = tensor_->paged_dim;
    std::int64_t table = 0, tables = 1;  // which page table: one for each coordinate that a page does not contain
    for (int d = 0; d < dims_; ++d) {
        const auto i = static_cast<std::size_t>(d);
        const std::int64_t at = origin_[i] + index_[i];
        const std::int64_t stride = tensor_->stride_bytes[i];
        if (d == paged) {
            const std::int64_t pages_per = (tensor_->shape[i] + tensor_->page_extent - 1) / tensor_->page_extent;
            const std::int64_t slot = permute_page(table * pages_per + at / tensor_->page_extent, tables * pages_per);
            address += static_cast<std::uint64_t>((slot * tensor_->page_extent + at % tensor_->page_extent) * stride);
        } else if (d < paged && stride > tensor_->stride_bytes[static_cast<std::size_t>(paged)]) {
            table = table * tensor_->shape[i] + at;
            tables *= tensor_->shape[i];
        } else {
            address += static_cast<std::uint64_t>(at * stride);
        }
    }
    return address;
}

void BoxWalk::next_run() {
    int d = dims_ - 1;
    for (; d >= 0; --d) {
        const auto i = static_cast<std::size_t>(d);
        if (++index_[i] < count_[i]) break;
        index_[i] = 0;
    }
    const bool beside = d == dims_ - 1 && d != tensor_->paged_dim;
    run_begin_ = beside ? run_begin_ + static_cast<std::uint64_t>(tensor_->stride_bytes[static_cast<std::size_t>(d)])
                        : run_address();
    piece_.address = run_begin_;
    run_left_ = run_bytes_;
}

}  // namespace memwall::chip
