// The published measurements that the repository ships: each file is what the contract says, each record has a source,
// and each operation is one that memwall knows.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "validate/record.h"
#include "workload/op_spec.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<fs::path> files() {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(fs::path(MEMWALL_SOURCE_DIR) / "validation" / "reference")) {
        if (entry.path().extension() == ".json") found.push_back(entry.path());
    }
    return found;
}

TEST(Reference, EveryFileIsWhatItsSchemaSays) {
    const std::set<std::string> metrics = {"time_us",      "cycles",         "tflops",     "gbps",
                                           "tokens_per_s", "latency_cycles", "latency_ns", "fraction_of_peak"};
    const std::set<std::string> kinds = {"micro", "kernel", "model"};
    const std::set<std::string> timings = {"in_kernel",  "event", "event_with_launch", "graph_node", "profiler",
                                           "per_launch", "served"};
    const auto ops = memwall::workload::op_names();
    std::set<std::string> ids;
    for (const fs::path& path : files()) {
        std::ifstream in(path);
        const json file = json::parse(in);
        EXPECT_EQ(file["schema"], "memwall-reference/1") << path;
        for (const json& r : file["records"]) {
            const auto id = r.at("id").get<std::string>();
            EXPECT_TRUE(ids.insert(id).second) << id << " stands twice";
            EXPECT_TRUE(kinds.contains(r.at("kind"))) << id;
            EXPECT_TRUE(metrics.contains(r.at("metric"))) << id;
            EXPECT_TRUE(timings.contains(r.at("timing"))) << id;
            EXPECT_NE(std::find(ops.begin(), ops.end(), r.at("op").get<std::string>()), ops.end()) << id;
            EXPECT_GT(r.at("value").get<double>(), 0) << id;
            EXPECT_TRUE(r.at("params").is_object()) << id;
            EXPECT_FALSE(r.at("source").at("where").get<std::string>().empty()) << id;
            EXPECT_FALSE(r.at("source").at("locator").get<std::string>().empty()) << id;
        }
    }
    EXPECT_GE(ids.size(), 700U);
}

TEST(Reference, EveryRecordCanBeRead) {
    for (const fs::path& path : files()) {
        for (const auto& r : memwall::validate::read_records(path.string())) EXPECT_EQ(r.failure, "") << r.id;
    }
}

TEST(Reference, NoBandwidthBeatsItsMemory) {
    // A stream whose footprint is several times the L2 cannot be faster than HBM: H100 3352 GB/s, H200 4800 (spec).
    for (const fs::path& path : files()) {
        std::ifstream in(path);
        const json file = json::parse(in);
        for (const json& r : file["records"]) {
            if (r["op"] != "stream" || r["metric"] != "gbps" || r["params"]["bytes"].get<double>() < 300e6) continue;
            const bool h100 = r["device"].get<std::string>().find("h100") == 0;
            EXPECT_LT(r["value"].get<double>(), h100 ? 3352 : 4900) << r["id"];
        }
    }
}

}  // namespace
