// Records and their file: what a check that failed leaves, that the file is whole after each record, that a run goes on
// where it stopped, and that it refuses what it must not continue.

#include "record.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>

namespace {

using namespace memwall::measure;
namespace fs = std::filesystem;

Case some_case(int m) {
    Case c;
    c.family = Family::gemm;
    c.op = "gemm";
    c.kind = "kernel";
    c.params = {{"m", m}, {"n", 64}, {"k", 64}, {"dtype", "bf16"}};
    c.cache = "cold";
    return c;
}

Setting some_setting(const std::string& run = "1", const std::string& name = "NVIDIA H200") {
    return {"h200-sxm", {{"name", name}, {"driver", "580.1"}}, "2026-01-02T03:04:05Z", run};
}

Outcome good_outcome() {
    Outcome o;
    o.samples = {3, 1, 2};
    o.sm_clock_mhz = 1979.96;
    o.check = {"a reference", 1e-3, 5e-3, ""};
    o.method = "by hand";
    return o;
}

class Results : public testing::Test {
protected:
    fs::path path_ = fs::temp_directory_path() / ("memwall-record-test-" + std::to_string(getpid()) + ".json");
    void SetUp() override { fs::remove(path_); }
    void TearDown() override { fs::remove(path_); }
    [[nodiscard]] Json read() const {
        std::ifstream in(path_);
        return Json::parse(in);
    }
};

TEST(Record, HasTheContractsFields) {
    const Json r = record_of(some_case(8), good_outcome(), some_setting());
    EXPECT_EQ(r["id"], "gemm-m8-n64-k64-dtypebf16-cold");
    EXPECT_EQ(r["device"], "h200-sxm");
    EXPECT_EQ(r["kind"], "kernel");
    EXPECT_EQ(r["metric"], "time_us");
    EXPECT_EQ(r["value"], 2.0);
    EXPECT_EQ(r["status"], "ok");
    EXPECT_EQ(r["sm_clock_mhz"], 1980.0);
    EXPECT_EQ(r["statistics"]["minimum"], 1.0);
    EXPECT_EQ(r["statistics"]["count"], 3);
    EXPECT_TRUE(r["schedule"].is_null());
    EXPECT_TRUE(r["source"].contains("where"));
}

TEST(Record, AFailedCheckTakesTheValueAway) {
    Outcome o = good_outcome();
    o.check.error = 0.5;
    const Json r = record_of(some_case(8), o, some_setting());
    EXPECT_EQ(r["status"], "failed");
    EXPECT_TRUE(r["value"].is_null());
    EXPECT_NE(r["reason"].get<std::string>().find("a reference"), std::string::npos);
    EXPECT_EQ(r["check"]["relative_error"], 0.5);
}

TEST(Record, NotANumberNeverPasses) {
    Outcome o = good_outcome();
    o.check.error = std::numeric_limits<double>::quiet_NaN();
    EXPECT_EQ(record_of(some_case(8), o, some_setting())["status"], "failed");
    o = good_outcome();
    o.samples[1] = std::numeric_limits<double>::infinity();
    EXPECT_EQ(record_of(some_case(8), o, some_setting())["status"], "failed");
    o.samples.clear();
    EXPECT_EQ(record_of(some_case(8), o, some_setting())["status"], "failed");
}

TEST(Record, TheLibraryIsNoParameter) {
    Case c = some_case(8);
    c.params["library"] = "cuBLAS";
    const Json r = record_of(c, good_outcome(), some_setting());
    EXPECT_EQ(r["library"], "cuBLAS");
    EXPECT_FALSE(r["params"].contains("library"));
    EXPECT_NE(r["id"], some_case(8).id());
}

TEST(DeviceLabel, KnowsTheProductsApart) {
    EXPECT_EQ(device_label("NVIDIA H200"), "h200-sxm");
    EXPECT_EQ(device_label("NVIDIA H200 NVL"), "h200-nvl");
    EXPECT_EQ(device_label("NVIDIA GH200 480GB"), "gh200");
    EXPECT_EQ(device_label("NVIDIA H100 80GB HBM3"), "h100-sxm5");
    EXPECT_EQ(device_label("NVIDIA H100 PCIe"), "h100-pcie");
    EXPECT_EQ(device_label("Some Chip"), "some-chip");
}

TEST_F(Results, TheFileIsWholeAfterEveryRecord) {
    ResultsFile file(path_, some_setting());
    for (int m = 1; m <= 3; ++m) {
        file.add(record_of(some_case(m), good_outcome(), some_setting()));
        const Json now = read();
        EXPECT_EQ(now["schema"], "memwall-reference/1");
        EXPECT_EQ(now["records"].size(), static_cast<std::size_t>(m));
        EXPECT_EQ(now["measured"]["name"], "NVIDIA H200");
    }
    EXPECT_FALSE(fs::exists(path_.string() + ".part"));
}

TEST_F(Results, ARunGoesOnWhereItStopped) {
    {
        ResultsFile file(path_, some_setting("first"));
        file.add(record_of(some_case(1), good_outcome(), some_setting("first")));
        file.add(failed_record(some_case(2), "a crash", some_setting("first")));
        // In the same invocation a case that failed is not tried again: it may have ended the process.
        EXPECT_TRUE(file.has(some_case(2)));
        EXPECT_EQ(file.failed(), 1U);
    }
    ResultsFile file(path_, some_setting("second"));
    EXPECT_TRUE(file.has(some_case(1)));
    EXPECT_FALSE(file.has(some_case(2)));
    EXPECT_FALSE(file.has(some_case(3)));
    file.add(record_of(some_case(2), good_outcome(), some_setting("second")));
    EXPECT_EQ(file.size(), 2U);
    EXPECT_EQ(file.failed(), 0U);
    EXPECT_EQ(read()["records"][1]["status"], "ok");
}

TEST_F(Results, RefusesTheFileOfAnotherDevice) {
    { ResultsFile(path_, some_setting()).add(failed_record(some_case(1), "x", some_setting())); }
    EXPECT_THROW(ResultsFile(path_, some_setting("1", "NVIDIA H100 PCIe")), InputError);
}

TEST_F(Results, RefusesWhatIsNoRecordFile) {
    std::ofstream(path_) << "{ \"schema\": \"other\" }";
    EXPECT_THROW(ResultsFile(path_, some_setting()), InputError);
    std::ofstream(path_) << "half a";
    EXPECT_THROW(ResultsFile(path_, some_setting()), InputError);
}

TEST(WriteWhole, LeavesNothingWhereItCannotWrite) {
    EXPECT_THROW(write_whole("/nonexistent-folder/file.json", "{}"), std::runtime_error);
    if (fs::exists("/dev/full")) {
        const fs::path link = fs::temp_directory_path() / ("memwall-full-" + std::to_string(getpid()) + ".part");
        fs::create_symlink("/dev/full", link);
        fs::path target = link;
        target.replace_extension("");
        EXPECT_THROW(write_whole(target, std::string(1 << 20, 'x')), std::runtime_error);
        EXPECT_FALSE(fs::exists(target));
        fs::remove(link);
    }
}

}  // namespace
