// What memwall-measure will write is what correlate can read: each of its cases is an operation that memwall simulates,
// or an experiment that it names as such.

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "case.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "record.h"
#include "support/files.h"
#include "validate/express.h"
#include "validate/record.h"
#include "workload/workload.h"

namespace {

using namespace memwall;

TEST(MeasuredCases, AreOperationsOfTheSimulatorOrNamedExperiments) {
    const auto configs = cli::find_configs();
    const auto device = device::load_device("h200-sxm", configs.devices, {});
    std::map<std::string, std::array<int, 2>> of_op;  // simulated, left out
    measure::Json file = {{"schema", "memwall-reference/1"}, {"records", measure::Json::array()}};
    for (const measure::Case& c : measure::suite("full")) {
        measure::Outcome outcome;
        outcome.samples = {1.0};
        file["records"].push_back(measure::record_of(c, outcome, {"h200-sxm", {}, "", ""}));
    }
    const auto path = test::temporary("measured-cases.json");
    std::ofstream(path) << file.dump();
    const auto records = validate::read_records(path.string());
    std::filesystem::remove(path);
    for (const validate::Record& record : records) {
        try {
            const auto e = validate::express(record, device);
            (void)workload::build_trace(e.op, e.wish, device, configs.roots);
            ++of_op[record.op][0];
        } catch (const InputError&) {
            ++of_op[record.op][1];
        }
    }
    for (const char* op : {"rmsnorm", "softmax", "elementwise", "attention_decode", "model_decode"}) {
        EXPECT_GT(of_op[op][0], 0) << op;
        EXPECT_EQ(of_op[op][1], 0) << op;
    }
    // Of a chain, how deep, in what order, how many CTAs, and what is aimed at: some of that memwall cannot be told.
    for (const char* op : {"gemm", "attention_prefill", "pointer_chase", "tma_read", "wgmma", "read"})
        EXPECT_GT(of_op[op][0], of_op[op][1]) << op;
}

}  // namespace
