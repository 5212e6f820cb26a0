// Reference records: what is read, what is refused, and how a record becomes an operation.

#include "validate/record.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "validate/express.h"

namespace {

namespace fs = std::filesystem;
using namespace memwall;
using validate::Figure;
using validate::Record;

device::Device pcie() {
    return device::load_device("h100-pcie", cli::find_configs().devices, {});
}

class Files : public testing::Test {
protected:
    void SetUp() override { fs::create_directories(folder_); }
    void TearDown() override { fs::remove_all(folder_); }

    std::string file(const std::string& text, const std::string& name = "a.json") {
        const fs::path path = folder_ / name;
        std::ofstream(path) << text;
        return path.string();
    }
    static std::string records(const std::string& fields) {
        return R"({"schema": "memwall-reference/1", "records": [{"id": "x", "device": "h100-sxm5", "kind": "kernel",
                   "op": "gemm", "params": {"m": 64, "n": 128, "k": 256, "dtype": "bf16"}, )" +
               fields + "}]}";
    }
    static std::string error_of(const std::string& path) {
        try {
            validate::read_records(path);
        } catch (const InputError& error) {
            return error.what();
        }
        return "";
    }

    fs::path folder_ = fs::temp_directory_path() / ("memwall-records-" + std::to_string(getpid()));
};

TEST_F(Files, ReadsWhatStandsThere) {
    const auto all = validate::read_records(file(records(
        R"("metric": "time_us", "value": 12.5, "sm_clock_mhz": 1410, "timing": "graph_node", "cache": "warm",
           "schedule": {"tile": [128, 256, 64], "stages": 4, "persistent": true})")));
    ASSERT_EQ(all.size(), 1U);
    const Record& r = all.front();
    EXPECT_EQ(r.value, 12.5);
    EXPECT_EQ(r.sm_clock_mhz, 1410);
    EXPECT_FALSE(r.clock_is_ceiling);
    EXPECT_TRUE(r.warm);
    EXPECT_EQ(r.timing, validate::Timing::graph_node);
    EXPECT_EQ(*r.find("k"), "256");
    const auto e = validate::express(r, pcie());
    EXPECT_EQ(e.wish.tile, (std::array{128, 256, 64}));
    EXPECT_EQ(e.wish.stages, 4);
    EXPECT_EQ(e.wish.persistent, true);
    EXPECT_EQ(e.added_us, pcie().launch.graph_gap_us);
    EXPECT_TRUE(e.warm);
}

TEST_F(Files, AGraphOfFewOperationsBearsMoreOfItsLaunch) {
    const auto added = [&](int ops, int replays) {
        const auto all = validate::read_records(
            file(records(R"("metric": "time_us", "value": 12.5, "timing": "graph_node", "graph": {"ops": )" +
                         std::to_string(ops) + R"(, "replays": )" + std::to_string(replays) + "}")));
        return validate::express(all.front(), pcie()).added_us;
    };
    const auto& launch = pcie().launch;
    // One operation: each replay is a launch of its own, and a sixth of the first one's wait is in each of the six.
    EXPECT_DOUBLE_EQ(added(1, 6), launch.stream_gap_us + launch.first_launch_us / 6);
    // Very many operations, replayed very often: the gap between nodes alone.
    EXPECT_NEAR(added(10000, 1000), launch.graph_gap_us, 1e-3);
    EXPECT_GT(added(2, 6), added(6, 6));
}

TEST_F(Files, KnowsHowOftenAnOperationWasRepeated) {
    const auto of = [&](const std::string& fields) {
        return validate::read_records(file(records(R"("metric": "time_us", "value": 12.5)" + fields)))
            .front()
            .repetition;
    };
    EXPECT_EQ(of("").warmups, 0);
    EXPECT_EQ(of("").repeats, 1);
    // A graph's replays are of all of its operations.
    const auto graph = of(R"(, "graph": {"ops": 6, "replays": 5, "warmups": 3})");
    EXPECT_EQ(graph.warmups, 18);
    EXPECT_EQ(graph.repeats, 30);
    const auto told = of(R"(, "graph": {"ops": 6, "replays": 5}, "repeated": {"warmups": 2, "repeats": 10})");
    EXPECT_EQ(told.warmups, 2);
    EXPECT_EQ(told.repeats, 10);
    // Of 250 us each, 100 before and 400 timed.
    const auto timed = of(R"(, "repeated": {"warmup_ms": 25, "timed_ms": 100})");
    EXPECT_EQ(timed.before(250), 100);
    EXPECT_EQ(timed.timed(250), 400);
}

TEST_F(Files, SaysWhereAFileIsWrong) {
    EXPECT_NE(error_of(file(R"({"schema": "memwall-trace/1", "records": []})")).find("/schema"), std::string::npos);
    EXPECT_NE(error_of(file(R"({"schema": "memwall-reference/1", "records": [{"device": "x"}]})")).find("/records/0"),
              std::string::npos);
    const std::string twice = R"({"id": "x", "value": 1})";
    EXPECT_NE(error_of(file(R"({"schema": "memwall-reference/1", "records": [)" + twice + "," + twice + "]}"))
                  .find("/records/1/id"),
              std::string::npos);
}

TEST_F(Files, ARecordThatCannotBeReadIsSkippedAndTheOthersAreNot) {
    const auto why = [&](const std::string& fields) {
        const auto all = validate::read_records(file(records(fields)));
        EXPECT_EQ(all.front().id, "x");
        EXPECT_EQ(all.front().op, "gemm");
        EXPECT_THROW(validate::express(all.front(), pcie()), InputError);
        return all.front().failure;
    };
    EXPECT_NE(why(R"("metric": "time_us", "value": -1)").find("/records/0/value"), std::string::npos);
    EXPECT_NE(why(R"("metric": "time_us", "value": "fast")").find("/records/0/value"), std::string::npos);
    EXPECT_NE(why(R"("metric": "time_us", "value": 1, "timing": "guess")").find("/timing"), std::string::npos);
    EXPECT_NE(why(R"("metric": "time_us", "value": 1, "sm_clock": "fixed")").find("/sm_clock"), std::string::npos);
    for (const std::string wrong :
         {R"("warmups": 3)", R"("warmup_ms": 3, "repeats": 2)", R"("timed_ms": 3, "repeats": 2)"})
        EXPECT_NE(why(R"("metric": "time_us", "value": 1, "repeated": {)" + wrong + "}").find("/repeated"),
                  std::string::npos)
            << wrong;
    EXPECT_NE(why(R"("metric": "time_us", "value": 1, "schedule_by": "libary")").find("/schedule_by"),
              std::string::npos);
    EXPECT_NE(why(R"("value": 1)").find("metric"), std::string::npos);
    const auto all = validate::read_records(file(R"({"schema": "memwall-reference/1", "records": [
        {"id": "bad"}, {"id": "good", "device": "h100-sxm5", "kind": "kernel", "op": "gemm",
        "params": {"m": 64, "n": 128, "k": 256, "dtype": "bf16"}, "metric": "time_us", "value": 1}]})"));
    ASSERT_EQ(all.size(), 2U);
    EXPECT_FALSE(all[0].failure.empty());
    EXPECT_TRUE(all[1].failure.empty());
}

TEST_F(Files, AScheduleIsOneThatWasTriedUnlessItIsTheLibrarysOwn) {
    const auto of_library = [&](const std::string& by) {
        return validate::read_records(file(records(R"("metric": "time_us", "value": 1)" + by)))
            .front()
            .schedule_of_library;
    };
    EXPECT_FALSE(of_library(""));
    EXPECT_FALSE(of_library(R"(, "schedule_by": "trial")"));
    EXPECT_TRUE(of_library(R"(, "schedule_by": "library")"));
}

TEST_F(Files, AFailedMeasurementIsSkippedWithItsReason) {
    const auto all =
        validate::read_records(file(records(R"("metric": "time_us", "value": null, "reason": "relative error 1")")));
    EXPECT_NE(all.front().failure.find("relative error 1"), std::string::npos);
    EXPECT_THROW(validate::express(all.front(), pcie()), InputError);
}

TEST_F(Files, TwoFilesOfOneNameKeepTheirRecordsApart) {
    const std::string text = records(R"("metric": "time_us", "value": 1)");
    fs::create_directories(folder_ / "b");
    const auto all = validate::read_records(std::vector{file(text), file(text, "b/a.json")});
    ASSERT_EQ(all.size(), 2U);
    EXPECT_NE(all[0].source, all[1].source);
}

Record record_of(const std::string& op, std::vector<std::pair<std::string, std::string>> params,
                 const std::string& metric) {
    Record r;
    r.id = "x";
    r.device = "h800-pcie";
    r.kind = "micro";
    r.op = op;
    r.params = std::move(params);
    r.metric = metric;
    r.value = 1;
    return r;
}

TEST(Express, AProductOfTheSameChipIsSimulatedAsIt) {
    EXPECT_EQ(validate::device_for("h800-sxm5"), "h100-sxm5");
    EXPECT_EQ(validate::device_for("h800-pcie"), "h100-pcie");
    EXPECT_EQ(validate::device_for("h200-sxm"), "h200-sxm");
}

// What operands hold decides the clock, not the work; a word that says nothing of it is no silent default.
TEST(Express, OperandsThatSwitchFewWiresLeaveTheClockAlone) {
    const auto full_clock = [](const std::string& data) {
        const auto e = validate::express(
            record_of("gemm", {{"m", "64"}, {"n", "64"}, {"k", "64"}, {"dtype", "bf16"}, {"data", data}}, "time_us"),
            pcie());
        EXPECT_EQ(e.op.find("data"), nullptr);
        return e.at_full_clock;
    };
    EXPECT_TRUE(full_clock("zeros"));
    EXPECT_TRUE(full_clock("constant"));
    EXPECT_FALSE(full_clock("random"));
    EXPECT_THROW(full_clock("constnat"), InputError);
}

TEST(Express, AShortLoopIsServedByTheL1AndALongOneIsNot) {
    const auto small = validate::express(record_of("pointer_chase", {{"bytes", "102400"}}, "latency_cycles"), pcie());
    EXPECT_EQ(*small.op.find("access"), "l1");
    const auto large =
        validate::express(record_of("pointer_chase", {{"bytes", "104857600"}}, "latency_cycles"), pcie());
    EXPECT_EQ(large.op.find("access"), nullptr);
    EXPECT_TRUE(large.at_full_clock);
}

TEST(Express, AResidentStreamIsRepeatedAndALongOneIsCut) {
    Record r = record_of("stream", {{"bytes", "16777216"}, {"reads", "1"}, {"writes", "0"}, {"passes", "2"}}, "gbps");
    r.warm = true;
    EXPECT_EQ(validate::express(r, pcie()).op.number("passes"), 128);
    r = record_of("stream", {{"bytes", "4294967296"}, {"reads", "1"}, {"writes", "1"}}, "gbps");
    const auto cut = validate::express(r, pcie());
    EXPECT_EQ(cut.op.number("bytes"), 1 << 30);
    EXPECT_FALSE(cut.note.empty());
}

TEST(Express, UnderstandsASchedulesOtherNames) {
    Record r = record_of("gemm", {{"m", "512"}, {"n", "64"}, {"k", "640"}, {"dtype", "bf16"}}, "cycles");
    r.schedule = {{"split_k", "4"}, {"cluster", "2x1"}};
    const auto e = validate::express(r, pcie());
    EXPECT_EQ(e.wish.split, 4);
    EXPECT_EQ(e.wish.cluster, 2);
    EXPECT_EQ(e.figure, validate::Figure::cycles);
    r.schedule = {{"cluster", "1x2"}};
    EXPECT_THROW(validate::express(r, pcie()), InputError);
}

TEST(Express, ARecordSaysHowItsResultsLeaveAndNothingElse) {
    Record r = record_of("gemm", {{"m", "512"}, {"n", "64"}, {"k", "640"}, {"dtype", "bf16"}}, "cycles");
    r.schedule = {{"store", "scalar"}};
    EXPECT_EQ(validate::express(r, pcie()).wish.store, workload::StoreBy::scalar);
    r.schedule = {{"store", "direct"}};
    EXPECT_THROW(validate::express(r, pcie()), InputError);
    Record norm = record_of("rmsnorm", {{"rows", "8"}, {"cols", "64"}, {"dtype", "bf16"}}, "time_us");
    norm.schedule = {{"store", "scalar"}};
    EXPECT_THROW(validate::express(norm, pcie()), InputError);
}

TEST(Express, KernelsOneAfterAnotherCarryTheGapBetweenThem) {
    Record r = record_of("gemm", {{"m", "512"}, {"n", "64"}, {"k", "640"}, {"dtype", "bf16"}}, "time_us");
    r.kind = "kernel";
    r.timing = validate::Timing::event;
    EXPECT_EQ(validate::express(r, pcie()).added_us, pcie().launch.graph_gap_us);
    r.timing = validate::Timing::profiler;
    EXPECT_EQ(validate::express(r, pcie()).added_us, 0);
}

TEST(Express, WhatItCannotSayItRefuses) {
    const auto why = [](const Record& r) -> std::string {
        try {
            validate::express(r, pcie());
        } catch (const InputError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_NE(why(record_of("mbarrier", {}, "latency_cycles")).find("no operation"), std::string::npos);
    EXPECT_NE(why(record_of("wgmma", {{"shape", "m64n8k16"}, {"dtype", "bf16"}}, "relative_error")).find("no figure"),
              std::string::npos);
    // What a simulation does not have is no zero.
    const std::vector<std::pair<std::string, std::string>> square = {
        {"m", "64"}, {"n", "64"}, {"k", "64"}, {"dtype", "bf16"}};
    EXPECT_NE(why(record_of("gemm", square, "tokens_per_s")), "");
    EXPECT_NE(why(record_of("read", {{"bytes", "1048576"}}, "tflops")), "");
    EXPECT_NE(why(record_of("pointer_chase", {{"bytes", "1048576"}}, "time_us")), "");
    Record resident = record_of("read", {{"bytes", "1048576"}}, "fraction_of_peak");
    EXPECT_EQ(why(resident), "");
    resident.warm = true;
    EXPECT_NE(why(resident), "");
    Record r = record_of("gemm", {{"m", "64"}, {"n", "64"}, {"k", "64"}, {"dtype", "bf16"}}, "time_us");
    r.schedule = {{"swizzle", "3"}};
    EXPECT_NE(why(r).find("swizzle"), std::string::npos);
}

TEST(Express, ZerosCostNoPower) {
    const Record r = record_of("wgmma", {{"shape", "m64n256k16"}, {"dtype", "fp16"}, {"data", "zeros"}}, "tflops");
    EXPECT_TRUE(validate::express(r, pcie()).at_full_clock);
}

}  // namespace
