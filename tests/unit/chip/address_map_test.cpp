// The address map: a permutation (no two granules share a place), balanced halves, and no camping on strides.
#include "chip/address_map.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "device/reader.h"

namespace memwall::chip {
namespace {

device::Device load(const std::string& name) {
    return device::load_device(name, {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
}

class AddressMapOf : public testing::TestWithParam<const char*> {};

TEST_P(AddressMapOf, GivesEveryGranuleItsOwnPlace) {
    const auto device = load(GetParam());
    const AddressMap map(device);
    std::set<std::tuple<int, int, std::uint32_t>> seen;
    const std::uint64_t base = 0x200000ULL * 12345;
    for (std::uint64_t offset = 0; offset < 64ULL << 20; offset += map.granule_bytes()) {
        const Place place = map.place(base + offset);
        ASSERT_LT(place.index, device.l2.slices / 2);
        ASSERT_TRUE(seen.insert({place.partition, place.index, place.row}).second) << "offset " << offset;
    }
}

TEST_P(AddressMapOf, HomesHalfOfEveryTwoMegabytePageInEitherPartition) {
    const AddressMap map(load(GetParam()));
    int far = 0, granules = 0;
    for (std::uint64_t offset = 0; offset < 2ULL << 20; offset += 4096, ++granules)
        far += map.home(0x7f000000 + offset);
    EXPECT_EQ(far * 2, granules);
}

TEST_P(AddressMapOf, SpreadsPowerOfTwoStridesOverTheSlices) {
    const auto device = load(GetParam());
    const AddressMap map(device);
    for (const std::uint64_t stride : {2048ULL, 8192ULL, 16384ULL, 65536ULL}) {
        std::map<std::pair<int, int>, int> load_of;
        const int requests = 8 * device.l2.slices;
        for (int i = 0; i < requests; ++i) {
            const Place place = map.place(static_cast<std::uint64_t>(i) * stride);
            ++load_of[{place.partition, place.index}];
        }
        int worst = 0;
        for (const auto& [slice, count] : load_of) worst = std::max(worst, count);
        // A slice's fair share is 8; a map that camps would send hundreds to a few slices.
        EXPECT_LE(worst, 32) << "stride " << stride;
        EXPECT_GE(static_cast<int>(load_of.size()), device.l2.slices * 3 / 4) << "stride " << stride;
    }
}

// Published: the home bit inside a 2 MiB page of an H100 80GB is the parity of address bits 12, 13, 16, 17, 19
// (cuda-side-boost, mask 0xB3000).
TEST(AddressMap, UsesTheMeasuredHomeMaskOfH100) {
    const AddressMap map(load("h100-sxm5"));
    for (const int bit : {12, 13, 16, 17, 19}) EXPECT_NE(map.home(0), map.home(1ULL << bit)) << "bit " << bit;
    for (const int bit : {7, 11, 14, 15, 18, 20}) EXPECT_EQ(map.home(0), map.home(1ULL << bit)) << "bit " << bit;
}

INSTANTIATE_TEST_SUITE_P(Devices, AddressMapOf, testing::Values("h100-sxm5", "h200-sxm", "h100-pcie"));

}  // namespace
}  // namespace memwall::chip
