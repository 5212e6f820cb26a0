// Which partition, slice, pseudo-channel, page and burst an address belongs to.
//
// Measured on H100 (side-aware copy experiments, mask 0xB3000): the parity of some address bits names the home
// partition, in granules of 4 KiB. Which slice and channel inside a partition is not published; ours is a permutation
// that works for any slice count: granules of a partition are numbered, the low bits of the number are XORed with a
// hash of the rest (so that power-of-two strides do not camp on one slice), and the number is then split by remainder
// and quotient.
#pragma once

#include <array>
#include <cstdint>

#include "base/divisor.h"
#include "device/device.h"

namespace memwall::chip {

struct Place {
    std::uint8_t partition;  ///< home
    std::uint16_t index;     ///< slice within the partition
    std::uint32_t row;       ///< granule number within the slice
};

class AddressMap {
public:
    explicit AddressMap(const device::Device& device);

    [[nodiscard]] Place place(std::uint64_t address) const {
        const std::uint64_t number =
            (address >> pair_shift_ << half_shift_) | ((address >> granule_shift_) & half_mask_);
        const std::uint64_t mixed = number ^ (mix(number >> 6) & 63);
        const auto row = static_cast<std::uint32_t>((static_cast<Wide>(mixed) * reciprocal_) >> 64);
        return {static_cast<std::uint8_t>(home(address)),
                static_cast<std::uint16_t>(mixed - static_cast<std::uint64_t>(row) * slices_), row};
    }
    [[nodiscard]] int home(std::uint64_t address) const { return __builtin_parityll(address & home_mask_); }

    /// Bytes of one granule.
    [[nodiscard]] std::uint32_t granule_bytes() const { return 1U << granule_shift_; }
    /// Which sectors of its granule a run of bytes touches: one bit each, up to 64.
    [[nodiscard]] std::uint64_t sectors(std::uint64_t address, std::uint32_t bytes) const {
        const auto offset = static_cast<std::uint32_t>(address) & (granule_bytes() - 1);
        const unsigned first = offset >> sector_shift_, last = (offset + bytes - 1) >> sector_shift_;
        return (~0ULL >> (63 - (last - first))) << first;
    }
    /// Pseudo-channels of one slice, and how a granule is cut over them.
    [[nodiscard]] int channels_per_slice() const { return channels_per_slice_; }
    [[nodiscard]] std::uint32_t piece_sectors() const { return piece_sectors_; }

    struct DramPlace {
        std::uint32_t page;
        std::uint16_t first_burst;  ///< of the piece of a granule that this channel holds
    };
    /// Page and first burst of granule `row`'s share in one pseudo-channel.
    [[nodiscard]] DramPlace dram(std::uint32_t row) const {
        const std::uint32_t page = granules_per_page_.quotient(row);
        return {page, static_cast<std::uint16_t>((row - page * granules_per_page_.value()) * bursts_per_granule_)};
    }

private:
    __extension__ using Wide = unsigned __int128;  // for a division by multiplication

    static std::uint64_t mix(std::uint64_t x) {
        x *= 0x9E3779B97F4A7C15ULL;
        return x >> 40;
    }

    std::uint64_t home_mask_;
    int granule_shift_;
    int sector_shift_;
    int pair_shift_;  // a pair of home granules: one in each partition
    int half_shift_;  // interleave granules in a home granule, as a shift
    std::uint64_t half_mask_;
    std::uint64_t slices_;  // of one partition
    std::uint64_t reciprocal_;
    int channels_per_slice_;
    std::uint32_t piece_sectors_;
    Divisor granules_per_page_;
    std::uint32_t bursts_per_granule_;  // in one channel
};

}  // namespace memwall::chip
