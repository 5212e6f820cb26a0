// Fitting: roots that are known, records that may be used, and a file that is a device again.

#include "validate/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "cli/verbs.h"
#include "device/reader.h"
#include "support/files.h"

namespace {

using namespace memwall;
using namespace memwall::validate;

TEST(FitParameter, FindsTheRootOnEitherSide) {
    for (const double root : {3.0, 9.0, 10.0, 11.0, 37.0}) {
        for (const double sign : {1.0, -1.0}) {
            int calls = 0;
            const auto error = [&](double x) {
                ++calls;
                return sign * std::log((20 + x) / (20 + root));  // a latency of which x is a part
            };
            const Fit fit = fit_parameter(error, 10, 2, 50, 1e-4);
            EXPECT_TRUE(fit.bracketed);
            EXPECT_NEAR(fit.value, root, 0.01 * root) << sign;
            EXPECT_LE(std::abs(fit.error_after), 1e-4);
            EXPECT_EQ(fit.evaluations, calls);
            EXPECT_LE(calls, 15);
        }
    }
}

TEST(FitParameter, SaysWhenNoValueWouldDo) {
    const Fit fit = fit_parameter([](double x) { return 0.5 - 0.001 * x; }, 10, 2, 50, 1e-4);
    EXPECT_FALSE(fit.bracketed);
    EXPECT_DOUBLE_EQ(fit.value, 50);  // the best there is
}

Record micro(const std::string& id, const std::string& bytes, const std::string& kind = "micro") {
    Record r;
    r.id = id;
    r.device = "h800-pcie";
    r.kind = kind;
    r.op = "pointer_chase";
    r.params = {{"bytes", bytes}};
    r.metric = "latency_cycles";
    r.value = 264;
    return r;
}

TEST(Causes, UseMicrobenchmarksOfTheProductAndNothingElse) {
    const auto device = device::load_device("h100-pcie", cli::find_configs().devices, {});
    const Cause& near = causes().front();
    auto all = std::vector{micro("a", "4000000"), micro("kernel", "4000000", "kernel"), micro("far", "40000000"),
                           micro("b", "9000000")};
    all.push_back(micro("elsewhere", "4000000"));
    all.back().device = "h200-sxm";
    const auto records = records_of(near, all, device, "h100-pcie", 5);
    ASSERT_EQ(records.size(), 2U);
    EXPECT_EQ(records[0].id, "a");
    EXPECT_EQ(records[1].id, "b");
    std::vector<Record> many;
    for (int i = 0; i < 20; ++i) many.push_back(micro(std::to_string(i), "4000000"));
    const auto spread = records_of(near, many, device, "h100-pcie", 5);
    ASSERT_EQ(spread.size(), 5U);
    EXPECT_EQ(spread.front().id, "0");
    EXPECT_EQ(spread.back().id, "19");
}

TEST(CalibratedDevice, IsADeviceThatSaysWhereItsNumbersComeFrom) {
    const auto path = test::temporary("calibrated.json");
    std::ofstream(path) << calibrated_device("mine", "h100-pcie", "mine", {{"/l2/hit_ns", "ns", "fitted to x", 31.25}});
    const auto dirs = cli::find_configs().devices;
    const auto description = device::read_description(path.string(), dirs, {});
    std::filesystem::remove(path);
    EXPECT_EQ(description.device.l2.hit_ns, 31.25);
    EXPECT_EQ(description.device.sms(), 114);
    for (const auto& entry : description.entries) {
        if (entry.pointer == "/l2/hit_ns") {
            EXPECT_EQ(entry.kind, "inferred");
            EXPECT_EQ(entry.source, "fitted to x");
        }
    }
}

}  // namespace
