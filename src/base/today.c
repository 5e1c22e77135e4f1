#include "base/today.h"

#include <stdio.h>
#include <time.h>

void kl_today(char text[KL_DATE_SIZE])
{
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm date = {.tm_mday = 1};
    localtime_r(&now, &date);
    snprintf(text, KL_DATE_SIZE, "%02d %s %d", date.tm_mday, months[date.tm_mon % 12],
             1900 + date.tm_year);
}
