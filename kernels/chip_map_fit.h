// What is read out of the chip's latencies: two groups of values, the XOR of address bits that explains a home, SMs
// that were ever seen together. Plain arithmetic, tested on synthetic chips.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace memwall::kernels {

/// Values split in two by the threshold that leaves the least spread within the groups (one-dimensional 2-means,
/// exact). gap: distance of the group means over the sum of their standard deviations; below about 2 there are no two
/// groups worth the name.
struct TwoGroups {
    double threshold = 0, low_mean = 0, high_mean = 0, gap = 0;
};
inline TwoGroups two_groups(std::span<const double> values) {
    std::vector<double> sorted(values.begin(), values.end());
    std::ranges::sort(sorted);
    const std::size_t n = sorted.size();
    TwoGroups best;
    if (n < 2) return best;
    std::vector<double> sum(n + 1, 0), squares(n + 1, 0);
    for (std::size_t i = 0; i < n; ++i) {
        sum[i + 1] = sum[i] + sorted[i];
        squares[i + 1] = squares[i] + sorted[i] * sorted[i];
    }
    double least = -1;
    for (std::size_t cut = 1; cut < n; ++cut) {
        const double below = static_cast<double>(cut), above = static_cast<double>(n - cut);
        const double low = sum[cut] / below, high = (sum[n] - sum[cut]) / above;
        const double low_spread = std::max(0.0, squares[cut] - below * low * low);
        const double high_spread = std::max(0.0, squares[n] - squares[cut] - above * high * high);
        if (least >= 0 && low_spread + high_spread >= least) continue;
        least = low_spread + high_spread;
        const double deviation = std::sqrt(low_spread / below) + std::sqrt(high_spread / above);
        best = {(sorted[cut - 1] + sorted[cut]) / 2, low, high, deviation > 0 ? (high - low) / deviation : 1e9};
    }
    return best;
}

/// The mask over address bits first_bit .. first_bit + bits - 1 whose parity tells `home` (0 or 1) of each address
/// best, by trying them all, and the share of addresses that agree (with the polarity that suits: at least a half).
struct HomeMask {
    std::uint64_t mask = 0;
    double agreement = 0;
};
inline HomeMask fit_home_mask(std::span<const std::uint64_t> addresses, std::span<const int> home, int first_bit,
                              int bits) {
    HomeMask best;
    if (addresses.empty()) return best;
    for (std::uint64_t pattern = 1; pattern < std::uint64_t{1} << bits; ++pattern) {
        const std::uint64_t mask = pattern << first_bit;
        std::size_t same = 0;
        for (std::size_t i = 0; i < addresses.size(); ++i) {
            same += static_cast<std::size_t>((std::popcount(addresses[i] & mask) & 1) == home[i]);
        }
        const double share =
            static_cast<double>(std::max(same, addresses.size() - same)) / static_cast<double>(addresses.size());
        if (share > best.agreement) best = {mask, share};
    }
    return best;
}

/// Groups of SMs that were seen together, directly or through others.
class Together {
public:
    explicit Together(int sms) : parent_(static_cast<std::size_t>(sms)) {
        std::iota(parent_.begin(), parent_.end(), 0);
    }
    void seen(int a, int b) { parent_[static_cast<std::size_t>(root(a))] = root(b); }
    /// Group of each SM, numbered in order of its first SM.
    [[nodiscard]] std::vector<int> groups() {
        std::vector<int> number(parent_.size(), -1), group(parent_.size());
        int next = 0;
        for (std::size_t sm = 0; sm < parent_.size(); ++sm) {
            int& of_root = number[static_cast<std::size_t>(root(static_cast<int>(sm)))];
            if (of_root < 0) of_root = next++;
            group[sm] = of_root;
        }
        return group;
    }

private:
    int root(int sm) {
        while (parent_[static_cast<std::size_t>(sm)] != sm) {
            int& up = parent_[static_cast<std::size_t>(sm)];
            up = parent_[static_cast<std::size_t>(up)];
            sm = up;
        }
        return sm;
    }
    std::vector<int> parent_;
};

}  // namespace memwall::kernels
