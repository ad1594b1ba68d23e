/* The first process of a kernel that is asked what became of its command line: shows files, ends.
 * Where the initramfs has /trials, lines of a path, a tab and a value, it writes each value first
 * and shows what the file then reads.
 *
 * Built static into an initramfs by kernel_boot.py; "show=PATH,PATH" on the command line reaches it
 * as an environment variable, as the kernel hands on what it does not know (kernel/init/main.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

static void show(const char *path)
{
    char text[4096];
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        printf("SHOWN %s absent\n", path);
        return;
    }
    const size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    text[strcspn(text, "\n")] = '\0';
    printf("SHOWN %s is %s\n", path, text);
}

static void try_each(FILE *trials)
{
    char line[512];
    while (fgets(line, sizeof line, trials) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *value = strchr(line, '\t');
        if (value == NULL)
            continue;
        *value++ = '\0';
        FILE *file = fopen(line, "w");
        if (file != NULL) {
            (void)fputs(value, file);
            if (fclose(file) != 0) /* the kernel says no when the text reaches it */
                printf("REFUSED %s %s\n", line, value);
        }
        show(line);
    }
}

int main(void)
{
    static const struct {
        const char *place, *kind;
    } mounts[] = {{"/proc", "proc"}, {"/sys", "sysfs"}, {"/sys/kernel/debug", "debugfs"}};
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        (void)mkdir(mounts[i].place, 0755); /* debugfs has its folder already */
        if (mount(mounts[i].kind, mounts[i].place, mounts[i].kind, 0, NULL) != 0)
            perror(mounts[i].place);
    }
    char *paths = getenv("show");
    for (char *path = strtok(paths, ","); path != NULL; path = strtok(NULL, ","))
        show(path);
    FILE *trials = fopen("/trials", "r");
    if (trials != NULL)
        try_each(trials);
    puts("SHOWN all");
    fflush(stdout);
    return reboot(RB_AUTOBOOT);
}
