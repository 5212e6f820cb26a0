// Kernels that keep a row on chip, and elementwise ones: from one row to more than the memory-bound plateau needs.

#include "case.h"

namespace memwall::measure {

namespace {

Case base(const char* op) {
    Case one;
    one.family = Family::rows;
    one.op = op;
    one.kind = "kernel";
    one.cache = "cold";
    one.gpu_ms = 250;
    return one;
}

}  // namespace

void add_row_cases(Cases& cases) {
    for (const char* op : {"rmsnorm", "softmax"}) {
        for (const int cols : {1024, 4096, 8192, 16384, 65536}) {
            for (const int rows : {1, 64, 2048, 32768}) {
                if (static_cast<long long>(rows) * cols > 1LL << 30) continue;
                Case one = base(op);
                one.params = {{"rows", rows}, {"cols", cols}, {"dtype", "bf16"}};
                one.quick = cols == 4096 && rows != 64;
                cases.push_back(one);
            }
        }
    }
    struct Arrays {
        int reads, writes;
    };
    for (const Arrays arrays : {Arrays{1, 1}, {2, 1}, {1, 0}, {0, 1}, {3, 1}}) {
        for (const long long elements : {1LL << 12, 1LL << 20, 1LL << 24, 1LL << 28}) {
            Case one = base("elementwise");
            one.params = {
                {"elements", elements}, {"reads", arrays.reads}, {"writes", arrays.writes}, {"dtype", "bf16"}};
            one.quick = elements == 1LL << 28 && arrays.reads + arrays.writes == 3;
            cases.push_back(one);
        }
    }
}

}  // namespace memwall::measure
