// Which measured records are near a query, and which are not.

#include "validate/bands.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/files.h"

namespace {

using namespace memwall;
using namespace memwall::validate;

BandRecord gemm(const std::string& id, const std::string& m, const std::string& dtype = "bf16",
                const std::string& device = "h100-sxm5") {
    return {id, device, "gemm", {{"m", m}, {"n", "4096"}, {"k", "4096"}, {"dtype", dtype}}, 3};
}

TEST(Bands, NearestFirstAndNothingFar) {
    const std::vector<BandRecord> records = {gemm("far", "8192"), gemm("near", "120"), gemm("exact", "128"),
                                             gemm("eight", "128", "fp8"), gemm("other", "128", "bf16", "h200-sxm")};
    const auto near = neighbours_of(records, workload::parse_op("gemm m=128 n=4096 k=4096 dtype=fp16"), "h100-sxm5");
    ASSERT_EQ(near.size(), 3U);
    EXPECT_EQ(near[0].id, "exact");
    EXPECT_EQ(near[0].distance, 0);
    EXPECT_EQ(near[1].id, "near");
    EXPECT_EQ(near[2].id, "other");
    EXPECT_TRUE(neighbours_of(records, workload::parse_op("rmsnorm rows=8 cols=8 dtype=bf16"), "h100-sxm5").empty());
    EXPECT_EQ(neighbours_of(records, workload::parse_op("gemm m=128 n=4096 k=4096 dtype=bf16"), "h100-sxm5", 1).size(),
              1U);
}

TEST(Bands, AReadIsAStreamThatWritesNothing) {
    const std::vector<BandRecord> records = {
        {"read", "h100-sxm5", "stream", {{"bytes", "1073741824"}, {"reads", "1"}, {"writes", "0"}}, 1},
        {"copy", "h100-sxm5", "stream", {{"bytes", "1073741824"}, {"reads", "1"}, {"writes", "1"}}, 1},
        {"resident",
         "h100-sxm5",
         "stream",
         {{"bytes", "1073741824"}, {"reads", "1"}, {"writes", "0"}, {"passes", "4"}},
         1}};
    const auto near = neighbours_of(records, workload::parse_op("read bytes=1073741824 passes=1"), "h100-sxm5");
    ASSERT_EQ(near.size(), 1U);
    EXPECT_EQ(near[0].id, "read");
}

// Simulated 60 us that were measured as 75 to 60, and 20 us that were measured as 16: 80 for 91 to 76. Of another 20
// nothing is known.
TEST(Bands, OfARunComeFromItsOperations) {
    const std::map<std::string, std::string> small = {{"m", "1"}, {"n", "64"}, {"k", "64"}, {"dtype", "bf16"}};
    const std::vector<BandRecord> records = {{"slower", "h100-sxm5", "gemm", gemm("", "128").params, -20},
                                             {"right", "h100-sxm5", "gemm", gemm("", "128").params, 0},
                                             {"faster", "h100-sxm5", "gemm", small, 25}};
    const auto large = workload::parse_op("gemm m=128 n=4096 k=4096 dtype=bf16");
    const auto band = compose(records,
                              {{large, 30},
                               {workload::parse_op("softmax rows=8 cols=8 dtype=bf16"), 20},
                               {workload::parse_op("gemm m=1 n=64 k=64 dtype=bf16"), 20},
                               {large, 30}},
                              "h100-sxm5");
    EXPECT_DOUBLE_EQ(band.covered, 0.8);
    EXPECT_NEAR(band.low_pct, 100 * (80.0 / 91 - 1), 1e-9);
    EXPECT_NEAR(band.high_pct, 100 * (80.0 / 76 - 1), 1e-9);
    ASSERT_EQ(band.operations.size(), 2U);
    EXPECT_EQ(band.operations[0].op, "gemm m=128 n=4096 k=4096 dtype=bf16");
    EXPECT_DOUBLE_EQ(band.operations[0].share, 0.6);
    EXPECT_EQ(band.operations[0].neighbours.size(), 2U);
    EXPECT_EQ(compose(records, {{workload::parse_op("softmax rows=8 cols=8 dtype=bf16"), 20}}, "h100-sxm5").covered, 0);
}

TEST(Bands, NarrowerWeightsAreAnotherProduct) {
    const auto asked = [](const std::string& weights) {
        return neighbours_of({gemm("bf16", "1")},
                             workload::parse_op("gemm m=1 n=4096 k=4096 dtype=bf16 weights_dtype=" + weights),
                             "h100-sxm5");
    };
    EXPECT_EQ(asked("bf16").size(), 1U);
    EXPECT_TRUE(asked("int4").empty());
}

TEST(Bands, ResultsThatThreadsStoreAreAnotherProduct) {
    BandRecord scalar = gemm("scalar", "128");
    scalar.params["store"] = "scalar";
    const std::vector<BandRecord> records = {gemm("as most", "128"), scalar};
    const auto id_near = [&](const std::string& store) {
        const auto near =
            neighbours_of(records, workload::parse_op("gemm m=128 n=4096 k=4096 dtype=bf16" + store), "h100-sxm5");
        return near.size() == 1 ? near[0].id : std::to_string(near.size());
    };
    EXPECT_EQ(id_near(""), "as most");
    EXPECT_EQ(id_near(" store=scalar"), "scalar");
    EXPECT_EQ(id_near(" store=vector"), "0");
}

TEST(Bands, SurviveTheFileAndTurnRatesIntoTimes) {
    Record r;
    r.id = "x";
    r.device = "h800-sxm5";
    r.kind = "kernel";
    r.op = "gemm";
    r.params = {{"m", "64"}, {"n", "64"}, {"k", "64"}, {"dtype", "bf16"}};
    r.metric = "tflops";
    r.value = 100;
    Simulation s;
    s.device = "h100-sxm5";
    s.op = "gemm m=64 n=64 k=64 dtype=bf16";
    s.simulated = 125;  // a quarter faster: a fifth less time
    const auto path = test::temporary("bands.json");
    std::ofstream(path) << bands_json(compare({r}, {s}));
    const auto records = read_bands(path.string());
    std::filesystem::remove(path);
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].device, "h100-sxm5");
    EXPECT_NEAR(records[0].time_error_pct, -20, 1e-9);
}

}  // namespace
