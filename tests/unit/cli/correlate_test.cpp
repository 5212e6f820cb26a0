// memwall correlate, as its users call it: a folder of answers that does not depend on how it was asked.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Correlate : public testing::Test {
protected:
    void SetUp() override {
        fs::create_directories(folder_);
        std::ofstream(folder_ / "some.json") << R"({"schema": "memwall-reference/1", "records": [
            {"id": "chase", "device": "h800-pcie", "kind": "micro", "op": "pointer_chase", "params": {"bytes": 1048576},
             "metric": "latency_cycles", "value": 264.5, "sm_clock_mhz": 1755, "timing": "in_kernel"},
            {"id": "stream", "device": "h100-sxm5", "kind": "micro", "op": "stream",
             "params": {"bytes": 8388608, "reads": 1, "writes": 1}, "metric": "gbps", "value": 2000},
            {"id": "node", "device": "h100-sxm5", "kind": "kernel", "op": "elementwise", "timing": "graph_node",
             "params": {"elements": 65536, "reads": 1, "writes": 1, "dtype": "bf16"}, "metric": "time_us", "value": 2},
            {"id": "kernel", "device": "h100-sxm5", "kind": "kernel", "op": "elementwise", "timing": "profiler",
             "params": {"elements": 65536, "reads": 1, "writes": 1, "dtype": "bf16"}, "metric": "time_us", "value": 2},
            {"id": "other", "device": "b200", "kind": "micro", "op": "stream", "params": {"bytes": 1024},
             "metric": "gbps", "value": 1},
            {"id": "atomics", "device": "h200-sxm", "kind": "micro", "op": "atomic_rate", "params": {},
             "metric": "gbps", "value": 1},
            {"id": "broken", "device": "h200-sxm", "kind": "micro", "op": "gemm", "params": {"m": 64},
             "metric": "time_us", "value": 1}]})";
    }
    void TearDown() override { fs::remove_all(folder_); }

    int run(const std::string& options) const {
        const std::string line = std::string(MEMWALL_BINARY) + " correlate " + options + " > " +
                                 (folder_ / "said").string() + " 2> " + (folder_ / "complaint").string();
        const int status = std::system(line.c_str());
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    [[nodiscard]] std::string text(const std::string& file) const {
        std::ostringstream all;
        all << std::ifstream(folder_ / file).rdbuf();
        return all.str();
    }
    [[nodiscard]] std::string reference() const { return "--reference " + (folder_ / "some.json").string(); }
    [[nodiscard]] std::string out(const std::string& name) const { return " --out " + (folder_ / name).string(); }

    /// Changes what a run into `folder` has kept of its record of `op`: where the result shows it, it was used.
    void change_kept(const std::string& folder, const std::string& op, double simulated) const {
        fs::path kept;
        json one;
        for (const auto& entry : fs::directory_iterator(folder_ / folder / "records")) {
            const json found = json::parse(std::ifstream(entry.path()));
            if (!found.contains("op") || !found["op"].get<std::string>().starts_with(op)) continue;
            kept = entry.path();
            one = found;
        }
        ASSERT_FALSE(kept.empty());
        one["simulated"] = simulated;
        std::ofstream(kept) << one.dump();
    }

    fs::path folder_ = fs::temp_directory_path() / ("memwall-correlate-" + std::to_string(getpid()));
};

TEST_F(Correlate, SimulatesWhatItCanAndSaysWhyItCannot) {
    ASSERT_EQ(run(reference() + out("a") + " --jobs 2"), 0) << text("complaint");
    const json result = json::parse(text("a/correlation.json"));
    EXPECT_EQ(result["schema"], "memwall-correlation/1");
    const json& records = result["records"];
    ASSERT_EQ(records.size(), 7U);
    EXPECT_LT(std::abs(records[0]["error_pct"].get<double>()), 5);
    EXPECT_EQ(records[0]["simulated_as"]["device"], "h100-pcie");
    EXPECT_EQ(records[0]["simulated_as"]["sm_clock_mhz"], 1755);
    for (const std::size_t i : {4U, 5U, 6U}) EXPECT_TRUE(records[i]["skipped"].is_string()) << records[i];
    EXPECT_NE(records[4]["skipped"].get<std::string>().find("b200"), std::string::npos);
    EXPECT_NE(records[6]["skipped"].get<std::string>().find("\"n\""), std::string::npos);
    EXPECT_EQ(result["summary"]["n"], 4);
    EXPECT_EQ(result["summary"]["skipped"], 3);
    // The same kernel as a node of a graph carries the gap to the next (/launch/graph_gap_us).
    const double gap = records[2]["simulated"].get<double>() - records[3]["simulated"].get<double>();
    EXPECT_NEAR(gap, 0.73, 1e-3);
    double sum = 0;
    for (const json& loss : records[2]["waterfall_us"]) sum += loss["us"].get<double>();
    EXPECT_NEAR(sum, records[2]["simulated"].get<double>(), 1e-3);
    EXPECT_NE(text("a/correlation.html").find("memwall-correlation/1"), std::string::npos);
    EXPECT_NE(text("said").find("micro: latency"), std::string::npos);
}

// A clock that was read under load is what the board ran at; one that was set is no more than a ceiling.
TEST_F(Correlate, ALockedClockStaysUnderThePowerLimit) {
    std::ofstream(folder_ / "clocks.json") << R"({"schema": "memwall-reference/1", "records": [
        {"id": "read", "device": "h100-sxm5", "kind": "kernel", "op": "gemm", "metric": "tflops", "value": 700,
         "params": {"m": 2048, "n": 2048, "k": 2048, "dtype": "bf16"}, "sm_clock_mhz": 1965},
        {"id": "set", "device": "h100-sxm5", "kind": "kernel", "op": "gemm", "metric": "tflops", "value": 700,
         "params": {"m": 2048, "n": 2048, "k": 2048, "dtype": "bf16"}, "sm_clock_mhz": 1965, "sm_clock": "locked"},
        {"id": "low", "device": "h100-sxm5", "kind": "kernel", "op": "gemm", "metric": "tflops", "value": 700,
         "params": {"m": 2048, "n": 2048, "k": 2048, "dtype": "bf16"}, "sm_clock_mhz": 1200, "sm_clock": "locked"},
        {"id": "long", "device": "h100-sxm5", "kind": "kernel", "op": "gemm", "metric": "tflops", "value": 700,
         "params": {"m": 2048, "n": 2048, "k": 2048, "dtype": "bf16"}, "sm_clock_mhz": 1965, "sm_clock": "locked",
         "repeated": {"warmup_ms": 500, "timed_ms": 500}},
        {"id": "around", "device": "h100-sxm5", "kind": "kernel", "op": "gemm", "metric": "tflops", "value": 700,
         "params": {"m": 2048, "n": 2048, "k": 2048, "dtype": "bf16", "data": "constant"}, "sm_clock_mhz": 1980,
         "sm_clock": "around"}]})";
    ASSERT_EQ(run("--reference " + (folder_ / "clocks.json").string() + out("clocks")), 0) << text("complaint");
    const json records = json::parse(text("clocks/correlation.json"))["records"];
    EXPECT_EQ(records[0]["simulated_as"]["sm_clock_mhz"], 1965);
    EXPECT_GT(records[0]["simulated_as"]["board_w"], 700);
    // Once, a board may draw more than on average.
    EXPECT_LT(records[1]["simulated_as"]["sm_clock_mhz"], 1900);
    EXPECT_LE(records[1]["simulated_as"]["board_w"], 985);
    EXPECT_GT(records[1]["simulated_as"]["board_w"], 800);
    EXPECT_EQ(records[2]["simulated_as"]["sm_clock_mhz"], 1200);
    EXPECT_LE(records[3]["simulated_as"]["board_w"], 705);
    // No power limit, but the boost that tensor cores allow (/clocks/sm_peak_mhz).
    EXPECT_EQ(records[4]["simulated_as"]["sm_clock_mhz"], 1830);
}

// What was left out for its length is simulated when there is time, and nothing else again.
TEST_F(Correlate, GoesOnWithLongerWork) {
    std::ofstream(folder_ / "long.json") << R"({"schema": "memwall-reference/1", "records": [
        {"id": "long", "device": "h100-sxm5", "kind": "kernel", "op": "gemm", "metric": "time_us", "value": 5,
         "params": {"m": 512, "n": 512, "k": 512, "dtype": "bf16"}, "sm_clock_mhz": 1500},
        {"id": "short", "device": "h100-sxm5", "kind": "kernel", "op": "elementwise", "metric": "time_us", "value": 2,
         "params": {"elements": 65536, "reads": 1, "writes": 1, "dtype": "bf16"}, "sm_clock_mhz": 1500}]})";
    const std::string options = "--reference " + (folder_ / "long.json").string() + out("long");
    ASSERT_EQ(run(options + " --most-tflop 0.0001"), 0) << text("complaint");
    EXPECT_TRUE(json::parse(text("long/correlation.json"))["records"][0]["skipped"].is_string());
    change_kept("long", "elementwise", 300);
    ASSERT_EQ(run(options + " --most-tflop 1 --resume"), 0) << text("complaint");
    const json records = json::parse(text("long/correlation.json"))["records"];
    EXPECT_GT(records[0]["simulated"].get<double>(), 1);
    EXPECT_EQ(records[1]["simulated"], 300);
}

// What a long sequence takes for each kernel, whose first and last differ: the same of 10 and of 40, and a gap more.
TEST_F(Correlate, ALaunchIsOneOfALongSequence) {
    std::ofstream(folder_ / "launches.json") << R"({"schema": "memwall-reference/1", "records": [
        {"id": "10", "device": "h100-sxm5", "kind": "micro", "op": "launch", "metric": "time_us", "value": 1.3,
         "params": {"runtime": "graph", "kernels": 10}, "timing": "per_launch"},
        {"id": "40", "device": "h100-sxm5", "kind": "micro", "op": "launch", "metric": "time_us", "value": 1.3,
         "params": {"runtime": "graph", "kernels": 40}, "timing": "per_launch"},
        {"id": "1", "device": "h100-sxm5", "kind": "micro", "op": "launch", "metric": "time_us", "value": 0.6,
         "params": {"runtime": "graph", "kernels": 1}, "timing": "per_launch"}]})";
    ASSERT_EQ(run("--reference " + (folder_ / "launches.json").string() + out("launches")), 0) << text("complaint");
    const json records = json::parse(text("launches/correlation.json"))["records"];
    const auto us = [&](std::size_t record) { return records[record]["simulated"].get<double>(); };
    EXPECT_NEAR(us(0), us(1), 5e-3);
    EXPECT_NEAR(us(1) - us(2), 0.73, 0.05);
}

TEST_F(Correlate, AnswersTheSameHoweverManyJobsAndWhenResumed) {
    ASSERT_EQ(run(reference() + out("a") + " --jobs 1"), 0);
    ASSERT_EQ(run(reference() + out("b") + " --jobs 3"), 0);
    EXPECT_EQ(text("a/correlation.json"), text("b/correlation.json"));
    // What is kept is used: a kept result that was changed shows.
    change_kept("a", "pointer_chase", 300);
    ASSERT_EQ(run(reference() + out("a") + " --resume"), 0);
    EXPECT_EQ(json::parse(text("a/correlation.json"))["records"][0]["simulated"], 300);
    ASSERT_EQ(run(reference() + out("a")), 0);
    EXPECT_EQ(text("a/correlation.json"), text("b/correlation.json"));
}

TEST_F(Correlate, BadInputIsStatusTwo) {
    EXPECT_EQ(run("--reference " + (folder_ / "none.json").string() + out("a")), 2);
    EXPECT_NE(text("complaint").find("none.json"), std::string::npos);
    EXPECT_EQ(run(reference() + out("a") + " --only nothing-is-called-so"), 2);
    EXPECT_EQ(run(reference() + out("a") + " --set /sm/no_such=1"), 2);
    std::ofstream(folder_ / "some.json") << R"({"schema": "memwall-reference/1", "records": [{"id": 5}]})";
    EXPECT_EQ(run(reference() + out("a")), 2);
    EXPECT_NE(text("complaint").find("/records/0/id"), std::string::npos);
}

}  // namespace
