// The reports: every field of memwall-result/1 in its order, a table that fits a terminal, a timeline that nests.
#include "result/report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "result/timeline.h"
#include "unit/result/synthetic.h"

namespace memwall::result {
namespace {

namespace fs = std::filesystem;

Script two_layers() {
    Script s;
    s.kernel(kernel_info("layers.0.q_proj", 8, 2), {{{0}, {1}, {10, 8, 0.5, 0.2, 0.1, 2, 0.5, 3}, {1}}});
    s.kernel(kernel_info("layers.1.q_proj", 8, 2), {{{1}, {1}, {10, 8, 0.5, 0.2, 0.1, 2, 0.5, 3}, {1}}});
    return s;
}

std::vector<std::string> keys_of(const nlohmann::ordered_json& object) {
    std::vector<std::string> keys;
    for (const auto& item : object.items()) keys.push_back(item.key());
    return keys;
}

TEST(ResultJson, HasEveryFieldOfTheContractInItsOrder) {
    const Script s = two_layers();
    const auto json = nlohmann::ordered_json::parse(to_json(s.run, analyse(s.run, s.seen), s.seen));
    const std::vector<std::string> contract = {"schema",
                                               "device",
                                               "workload",
                                               "schedule",
                                               "time_us",
                                               "sm_cycles",
                                               "sm_clock_mhz",
                                               "tokens_per_s",
                                               "flops",
                                               "tflops",
                                               "arithmetic_intensity",
                                               "dram",
                                               "l2",
                                               "smem",
                                               "tensor",
                                               "roofline_us",
                                               "tile_lifetime",
                                               "waterfall_us"};
    const auto keys = keys_of(json);
    ASSERT_GE(keys.size(), contract.size());
    EXPECT_EQ(std::vector<std::string>(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(contract.size())),
              contract);
    const std::map<std::string, std::vector<std::string>> inner = {
        {"schedule", {"tile", "stages"}},
        {"dram", {"read_bytes", "write_bytes", "gbps", "fraction_of_peak", "row_hit_rate", "refresh_fraction"}},
        {"l2", {"read_bytes", "hit_rate", "near_bytes", "far_bytes"}},
        {"tensor", {"busy_fraction"}},
        {"roofline_us", {"compute", "memory"}},
        {"tile_lifetime", {"hbm", "interposer", "l2", "crossbar", "smem_wait", "compute"}},
        {"host", {"wall_s", "events", "max_rss_bytes", "version"}},
    };
    for (const auto& [object, names] : inner) {
        for (const std::string& name : names) EXPECT_TRUE(json.at(object).contains(name)) << object << "." << name;
    }
    for (const char* name : {"name", "op", "start_us", "time_us", "flops", "dram_bytes", "bound"})
        EXPECT_TRUE(json.at("ops").at(0).contains(name)) << name;
    EXPECT_EQ(json["schema"], "memwall-result/1");
    EXPECT_EQ(json["workload"]["m"], 64);
    EXPECT_EQ(json["workload"]["dtype"], "bf16");
    EXPECT_TRUE(json["flops"].is_number_integer());
}

TEST(ResultJson, HasNoNumberThatIsNotFinite) {
    Script s;
    s.kernel(kernel_info("empty", 0), {{{0}, {1}, {0}, {1}}});  // no bytes, no FLOPs
    const std::string text = to_json(s.run, analyse(s.run, s.seen), s.seen);
    EXPECT_EQ(text.find("nan"), std::string::npos);
    EXPECT_EQ(text.find("inf"), std::string::npos);
}

TEST(ResultTable, PutsTheSameOpOfAllLayersInOneRowAndFitsATerminal) {
    const Script s = two_layers();
    std::istringstream lines(to_table(s.run, analyse(s.run, s.seen)));
    int rows = 0;
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size(), 120U) << line;
        rows += line.rfind("q_proj", 0) == 0;
    }
    EXPECT_EQ(rows, 1);
}

TEST(ResultCsv, HasAHeaderAndALinePerOp) {
    const Script s = two_layers();
    const std::string csv = to_csv(analyse(s.run, s.seen));
    EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
    EXPECT_EQ(csv.rfind("name,op,start_us,time_us", 0), 0U);
}

/// Spans by process and thread, in the order of the file.
std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> spans_of(const nlohmann::json& timeline) {
    std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> spans;
    for (const auto& event : timeline.at("traceEvents")) {
        if (event.at("ph") != "X") continue;
        const double begin = event.at("ts").get<double>();
        spans[{event.at("pid").get<int>(), event.at("tid").get<int>()}].emplace_back(
            begin, begin + event.at("dur").get<double>());
    }
    return spans;
}

class TimelineFile : public testing::Test {
protected:
    TimelineFile()
        : path_(fs::temp_directory_path() /
                fs::path(testing::UnitTest::GetInstance()->current_test_info()->name()).concat(".json")) {}
    ~TimelineFile() override { fs::remove(path_); }
    [[nodiscard]] nlohmann::json read() const {
        std::ifstream in(path_);
        return nlohmann::json::parse(in);
    }
    fs::path path_;
};

TEST_F(TimelineFile, SpansOfOneThreadNeverOverlap) {
    Script s = two_layers();
    using Track = TimelineSpan::Track;
    // Two CTAs of SM 0 whose first warpgroups use the tensor cores in turns that overlap, and wait at once.
    s.seen.timeline = {{0, Track::tensor, 0, 0, {}, microseconds(1), microseconds(3)},
                       {0, Track::tensor, 0, 0, {}, microseconds(2), microseconds(4)},
                       {0, Track::tensor, 0, 0, {}, microseconds(3), microseconds(5)},
                       {0, Track::wait, 0, 0, {}, microseconds(1), microseconds(2)},
                       {0, Track::wait, 0, 0, {}, microseconds(1), microseconds(2)},
                       {1, Track::cta, 3, 1, {}, microseconds(1), microseconds(9)}};
    write_timeline(path_, s.run, s.seen);
    std::size_t spans = 0;
    for (auto& [thread, list] : spans_of(read())) {
        spans += list.size();
        for (std::size_t i = 1; i < list.size(); ++i)
            EXPECT_GE(list[i].first, list[i - 1].second - 1e-9) << thread.first << " " << thread.second;
    }
    EXPECT_EQ(spans, 2 + 1 + s.seen.timeline.size());  // two kernels, one gap
}

TEST_F(TimelineFile, EscapesNames) {
    Script s;
    s.kernel(kernel_info("a \"quoted\"\nname", 8), {{{0}, {1}, {10, 8}, {1}}});
    write_timeline(path_, s.run, s.seen);
    EXPECT_NE(read().dump().find("quoted"), std::string::npos);
}

TEST_F(TimelineFile, LeavesNothingWhenItCannotBeWritten) {
    const Script s = two_layers();
    const fs::path missing = fs::temp_directory_path() / "memwall-no-such-folder" / "timeline.json";
    EXPECT_THROW(write_timeline(missing, s.run, s.seen), HostError);
    EXPECT_FALSE(fs::exists(missing));
    fs::create_directory(path_);  // its name is taken by a folder: the temporary file must go again
    EXPECT_THROW(write_timeline(path_, s.run, s.seen), HostError);
    EXPECT_FALSE(fs::exists(path_.string() + ".tmp"));
}

}  // namespace
}  // namespace memwall::result
