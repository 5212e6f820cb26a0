#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

namespace memwall::measure {

namespace {

double percentile(const std::vector<double>& sorted, double fraction) {
    const double place = fraction * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(std::floor(place));
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return std::lerp(sorted[below], sorted[above], place - std::floor(place));
}

}  // namespace

Summary summarise(std::span<const double> samples) {
    if (samples.empty()) throw std::invalid_argument("a case gave no samples");
    std::vector<double> sorted(samples.begin(), samples.end());
    std::ranges::sort(sorted);
    return {percentile(sorted, 0.5), sorted.front(), percentile(sorted, 0.1), percentile(sorted, 0.9), sorted.size()};
}

}  // namespace memwall::measure
