#include "device/reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/json_reader.h"
#include "device/fields.h"
#include "device/show.h"

namespace memwall::device {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kConfigs = std::string(MEMWALL_SOURCE_DIR) + "/configs/devices";
const std::vector<std::string> kDirs{kConfigs};

template <class Act>
std::string complaint(Act act) {
    try {
        act();
    } catch (const InputError& e) {
        return e.what();
    }
    ADD_FAILURE() << "no InputError";
    return {};
}

std::string complaint_of_set(const std::vector<std::string>& sets, const std::string& device = "h100-sxm5") {
    return complaint([&] { (void)load_device(device, kDirs, sets); });
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// A changed copy of h100-sxm5 in a folder of its own.
class Changed : public testing::Test {
protected:
    Changed()
        : folder_(fs::path(testing::TempDir()) /
                  (std::string("device_reader_") + testing::UnitTest::GetInstance()->current_test_info()->name())),
          json_(load_json(kConfigs + "/h100-sxm5.json")) {
        fs::create_directories(folder_);
    }
    ~Changed() override { fs::remove_all(folder_); }
    std::string write(const std::string& name = "x") {
        const fs::path path = folder_ / (name + ".json");
        std::ofstream(path) << json_.dump(2);
        return path.string();
    }
    std::string complaint_of_file() {
        return complaint([&] { (void)load_device(write(), kDirs, {}); });
    }
    fs::path folder_;
    Json json_;
};

TEST(DeviceReader, EveryShippedDeviceLoads) {
    const auto names = list_devices(kDirs);
    EXPECT_EQ(names, (std::vector<std::string>{"gh200-96gb", "h100-pcie", "h100-sxm5", "h200-sxm"}));
    for (const auto& name : names) {
        EXPECT_EQ(load_device(name, kDirs, {}).name, name);
        EXPECT_TRUE(contains(list_text(kDirs), name));
    }
}

TEST(DeviceReader, PublishedFiguresComeOut) {
    const Device sxm = load_device("h100-sxm5", kDirs, {}), pcie = load_device("h100-pcie", kDirs, {}),
                 h200 = load_device("h200-sxm", kDirs, {});
    EXPECT_EQ(sxm.sms(), 132);
    EXPECT_EQ(pcie.sms(), 114);
    EXPECT_EQ(h200.sms(), 132);
    EXPECT_NEAR(sxm.hbm.peak_gbps(), 3352, 1);
    EXPECT_NEAR(pcie.hbm.peak_gbps(), 2039, 1);
    EXPECT_NEAR(h200.hbm.peak_gbps(), 4800, 1);
    EXPECT_EQ(sxm.l2.slices * sxm.l2.slice_bytes, 52428800);
    EXPECT_EQ(h200.l2.slices * h200.l2.slice_bytes, 60 << 20);
    EXPECT_NEAR(sxm.sms() * sxm.tensor.flops_per_cycle_16bit * sxm.clocks.sm_peak_mhz * 1e-6, 989.4, 0.1);
    EXPECT_NEAR(pcie.sms() * pcie.tensor.flops_per_cycle_16bit * pcie.clocks.sm_peak_mhz * 1e-6, 756, 1);
}

TEST(DeviceReader, EveryLeafHasProvenance) {
    const std::set<std::string> kinds{"spec", "measured", "inferred", "assumed"};
    for (const auto& name : list_devices(kDirs)) {
        Description d = read_description(name, kDirs, {});
        EXPECT_EQ(d.entries.size(), fields_of(d.device).size());
        for (const Entry& entry : d.entries) {
            EXPECT_TRUE(kinds.contains(entry.kind)) << entry.pointer;
            EXPECT_GT(entry.source.size(), 4U) << name << entry.pointer;
        }
    }
}

TEST(DeviceReader, TheSchemaNamesExactlyTheFields) {
    const Json schema = load_json(std::string(MEMWALL_SOURCE_DIR) + "/configs/schema/device.schema.json");
    Device device{};
    std::set<std::string> sections;
    std::size_t leaves = 0;
    for (const Field& field : fields_of(device)) {
        const Json* at = &schema;
        for (std::size_t begin = 1; begin != 0;) {
            const auto end = field.pointer.find('/', begin);
            const auto step = field.pointer.substr(begin, end - begin);
            ASSERT_TRUE(at->at("properties").contains(step)) << field.pointer;
            at = &at->at("properties").at(step);
            begin = end + 1;  // npos + 1 is 0
        }
        EXPECT_EQ(at->at("properties").at("unit").at("const"), field.unit) << field.pointer;
    }
    const auto count = [&](const Json& node, const auto& self) -> void {
        if (node.contains("$ref"))
            ++leaves;
        else if (node.contains("properties")) {
            for (const auto& child : node.at("properties")) self(child, self);
        }
    };
    count(schema, count);
    EXPECT_EQ(leaves, fields_of(device).size());
}

TEST(DeviceReader, SetChangesOneField) {
    const auto set = [](std::vector<std::string> sets) { return load_device("h100-sxm5", kDirs, sets); };
    EXPECT_EQ(set({"/sm/max_ctas=16"}).sm.max_ctas, 16);
    EXPECT_EQ(set({"/sm/max_ctas/value=16"}).sm.max_ctas, 16);
    EXPECT_DOUBLE_EQ(set({"/clocks/sm_mhz=1755.5"}).clocks.sm_mhz, 1755.5);
    EXPECT_EQ(set({"/l2/replacement=random"}).l2.replacement, "random");
    EXPECT_EQ(set({"/l2/home_mask=0xAB000"}).l2.home_mask, 0xAB000U);
    EXPECT_EQ(set({"/l2/home_mask=4096"}).l2.home_mask, 4096U);
    EXPECT_EQ(set({"/floorplan/sms_per_gpc=[16,16,16,16,16,16,16,16]"}).sms(), 128);
    EXPECT_EQ(set({"/floorplan/sms_per_gpc/value/1=16"}).sms(), 130);
    EXPECT_EQ(set({"/floorplan/sm_tpc/latency_cycles=9"}).floorplan.sm_tpc.latency_cycles, 9);
    const auto entries = read_description("h100-sxm5", kDirs, {"/sm/max_ctas=16"}).entries;
    const auto entry = std::ranges::find(entries, "/sm/max_ctas", &Entry::pointer);
    EXPECT_EQ(entry->kind, "set");
}

TEST(DeviceReader, ABadSetNamesTheNearestPointerOrTheRange) {
    EXPECT_TRUE(contains(complaint_of_set({"/sm/max_thread=5"}), "the nearest is /sm/max_threads"));
    EXPECT_EQ(complaint_of_set({"/sm/max_threads=abc"}),
              "--set /sm/max_threads=abc: /sm/max_threads: found \"abc\"; allowed: an integer from 1 to 4096");
    EXPECT_TRUE(contains(complaint_of_set({"/hbm/tcl_ns=-1"}), "found -1; allowed: a number from 0"));
    EXPECT_TRUE(contains(complaint_of_set({"/l2/replacement=fifo"}), "one of \"lru\", \"random\""));
    EXPECT_TRUE(contains(complaint_of_set({"/floorplan/sms_per_gpc/value/99=16"}), "no such element"));
    EXPECT_TRUE(contains(complaint_of_set({"/l2/home_mask=0xZZ"}), "an address mask"));
    for (const char* text :
         {"", "=", "sm/max_ctas=4", "/sm/max_ctas", "/=3", "/sm=3", "/sm/max_ctas=", "/sm/max_ctas/unit=us",
          "/sm/max_ctas/value/3=4", "/floorplan/sms_per_gpc=[]", "/floorplan/sms_per_gpc=16"}) {
        EXPECT_THROW((void)load_device("h100-sxm5", kDirs, {text}), InputError) << text;
    }
}

TEST(DeviceReader, CrossChecksShowTheirArithmetic) {
    EXPECT_TRUE(contains(complaint_of_set({"/l2/slices=84"}),
                         "/l2/slices: found 84 slices over 10 controllers (5 stacks * 2): "
                         "84 / 10 leaves 4"));
    EXPECT_TRUE(contains(complaint_of_set({"/hbm/channels_per_stack=15"}), "150 / 80 leaves 70"));
    EXPECT_TRUE(contains(complaint_of_set({"/l2/ways=7"}), "655360 / 14336 leaves"));
    EXPECT_TRUE(contains(complaint_of_set({"/l2/interleave_bytes=1000"}), "a power of two"));
    EXPECT_TRUE(contains(complaint_of_set({"/l2/fill_bytes=256"}), "fill_bytes 256 above line_bytes 128"));
    EXPECT_TRUE(contains(complaint_of_set({"/hbm/write_low_watermark=70"}), "write_high_watermark"));
    EXPECT_TRUE(contains(complaint_of_set({"/hbm/run_bank_groups=3"}), "4 bank groups over 3 of a run: 4 / 3"));
    EXPECT_TRUE(contains(complaint_of_set({"/hbm/write_high_watermark=65"}), "above write_queue_entries 64"));
    EXPECT_TRUE(contains(complaint_of_set({"/hbm/nbl=3"}), "32 pins * 4 transfers * 3 clocks / 8 = 48 bytes"));
    EXPECT_TRUE(contains(complaint_of_set({"/hbm/trfcpb_ns=4000"}), "/hbm/trfcpb_ns"));
    EXPECT_TRUE(contains(complaint_of_set({"/floorplan/sms_per_gpc/value/0=17"}), "17 / 2 leaves 1"));
    EXPECT_TRUE(contains(complaint_of_set({"/floorplan/gpc_partition=[0,1]"}), "2 entries for 8 GPCs"));
    EXPECT_TRUE(contains(complaint_of_set({"/floorplan/gpc_partition=[0,0,0,0,0,0,0,0]"}), "no GPC at partition 1"));
    EXPECT_TRUE(contains(complaint_of_set({"/l2/home_mask=0x100"}), "bits from 11 up"));
    EXPECT_TRUE(contains(complaint_of_set({"/sm/smem_per_cta_max_bytes=240000"}), "smem_bytes 233472"));
}

TEST(DeviceReader, OtherNumbersOfStacksAndSlicesAreFine) {
    for (const int stacks : {1, 2, 3, 4, 6, 8}) {
        const std::vector<std::string> sets{"/hbm/stacks=" + std::to_string(stacks),
                                            "/l2/slices=" + std::to_string(16 * stacks)};
        const Device device = load_device("h100-sxm5", kDirs, sets);
        EXPECT_NO_THROW(Floorplan{device}) << stacks;
    }
}

TEST(DeviceReader, AnUnknownDeviceNamesTheKnownOnes) {
    const std::string text = complaint([] { (void)load_device("h100-sxm", kDirs, {}); });
    EXPECT_TRUE(contains(text, "h100-pcie, h100-sxm5, h200-sxm")) << text;
    EXPECT_TRUE(contains(text, "the nearest is \"h100-sxm5\"")) << text;
    EXPECT_TRUE(list_devices({"/no/such/folder"}).empty());
}

TEST_F(Changed, ErrorsNameFilePointerFoundAndAllowed) {
    json_["sm"]["max_threads"]["value"] = "abc";
    EXPECT_EQ(complaint_of_file(), (folder_ / "x.json").string() +
                                       ": /sm/max_threads/value: found \"abc\"; allowed: an integer from 1 to 4096");
}

TEST_F(Changed, LeavesMustSayUnitKindAndSource) {
    const Json good = json_;
    for (const char* key : {"value", "unit", "kind", "source"}) {
        json_ = good;
        json_["sm"]["max_ctas"].erase(key);
        EXPECT_TRUE(contains(complaint_of_file(), std::string("/sm/max_ctas/") + key + ": found nothing")) << key;
    }
    json_ = good;
    json_["l2"]["hit_ns"]["unit"] = "cycles";
    EXPECT_TRUE(contains(complaint_of_file(), "/l2/hit_ns/unit: found \"cycles\"; allowed: \"ns\""));
    json_ = good;
    json_["l2"]["hit_ns"]["kind"] = "guess";
    EXPECT_TRUE(contains(complaint_of_file(), "/l2/hit_ns/kind: found \"guess\""));
    json_ = good;
    json_["l2"]["hit_ns"]["source"] = "";
    EXPECT_TRUE(contains(complaint_of_file(), "/l2/hit_ns/source"));
}

TEST_F(Changed, MissingAndUnknownFieldsAreErrors) {
    const Json good = json_;
    json_["floorplan"]["sm_tpc"].erase("latency_ns");
    EXPECT_TRUE(contains(complaint_of_file(), "/floorplan/sm_tpc/latency_ns: found nothing"));
    json_ = good;
    json_["l2"]["hit_nss"] = json_["l2"]["hit_ns"];
    EXPECT_TRUE(contains(complaint_of_file(), "the nearest known field is \"hit_ns\""));
    json_ = good;
    json_["l3"] = 1;
    EXPECT_TRUE(contains(complaint_of_file(), "/l3: found an unknown field"));
    json_ = good;
    json_["sm"] = 3;
    EXPECT_TRUE(contains(complaint_of_file(), "/sm: found 3; allowed: an object"));
}

TEST_F(Changed, ExtendsTakesTheRestAndDoesNotGoInCircles) {
    const Json entry = json_["sm"]["max_ctas"];
    json_ = {{"name", "x"}, {"extends", "h100-sxm5"}, {"sm", {{"max_ctas", entry}}}};
    json_["sm"]["max_ctas"]["value"] = 8;
    const Description d = read_description(write(), kDirs, {});
    EXPECT_EQ(d.device.name, "x");
    EXPECT_EQ(d.device.sm.max_ctas, 8);
    EXPECT_EQ(d.device.sm.max_warps, 64);
    json_["extends"] = "x";
    EXPECT_TRUE(contains(complaint_of_file(), "/extends"));
}

TEST_F(Changed, EdgeOverridesAreReadAndChecked) {
    const Json edge{{"from", "gpc0"},  {"to", "xbar0"},        {"latency_cycles", 50},
                    {"latency_ns", 0}, {"bytes_per_cycle", 1}, {"bytes_per_cycle_back", 2}};
    json_["floorplan"]["overrides"]["value"] = Json::array({edge});
    EXPECT_EQ(load_device(write(), kDirs, {}).floorplan.overrides.at(0).edge.bytes_per_cycle_back, 2);
    json_["floorplan"]["overrides"]["value"][0].erase("to");
    EXPECT_TRUE(contains(complaint_of_file(), "/floorplan/overrides/value/0/to: found nothing"));
}

}  // namespace
}  // namespace memwall::device
