#include "chip/address_map.h"

#include <bit>

namespace memwall::chip {

AddressMap::AddressMap(const device::Device& device) {
    const auto& l2 = device.l2;
    const auto& hbm = device.hbm;
    home_mask_ = l2.home_mask;
    granule_shift_ = std::countr_zero(static_cast<unsigned>(l2.interleave_bytes));
    sector_shift_ = std::countr_zero(static_cast<unsigned>(l2.sector_bytes));
    // The lowest bit of the home mask tells pairs of home granules apart: with the bits above fixed, it alone decides,
    // so each pair has one granule in either partition.
    const int home_shift = std::countr_zero(home_mask_);
    pair_shift_ = home_shift + 1;
    half_shift_ = home_shift - granule_shift_;
    half_mask_ = (1ULL << half_shift_) - 1;
    slices_ = static_cast<std::uint64_t>(l2.slices / 2);
    reciprocal_ = ~0ULL / slices_ + 1;
    channels_per_slice_ = hbm.pseudo_channels() / l2.slices;
    piece_sectors_ = static_cast<std::uint32_t>(hbm.pseudo_channel_interleave_bytes / l2.sector_bytes);
    const int share_bytes = l2.interleave_bytes / channels_per_slice_;
    granules_per_page_ = Divisor(static_cast<std::uint32_t>(hbm.gang_page_bytes() / share_bytes));
    bursts_per_granule_ = static_cast<std::uint32_t>(share_bytes / hbm.burst_bytes);
}

}  // namespace memwall::chip
