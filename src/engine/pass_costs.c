#include "engine/pass_costs.h"

const struct kl_pass_costs kl_pass_costs_usual = {{1.0f, 1.07f, 1.21f, 1.36f, 1.69f, 1.81f, 1.97f,
                                                   2.15f, 2.53f, 2.65f, 2.82f, 2.96f, 3.18f, 3.32f,
                                                   3.49f, 3.67f}};

float kl_pass_cost(const struct kl_pass_costs *costs, size_t n_rows)
{
    enum { HALF = KL_PASS_COSTS / 2 };
    if (n_rows <= KL_PASS_COSTS)
        return costs->cost[n_rows - 1];
    float last = costs->cost[KL_PASS_COSTS - 1], half = costs->cost[HALF - 1];
    return last + (float)(n_rows - KL_PASS_COSTS) * (last - half) / HALF;
}
