/* SPDX-License-Identifier: Apache-2.0
 *
 * probe_mail_auth: mail authentication as a program over a zone in a file, so that
 * tests/run_mail_auth can hold it against other implementations. The message is on stdin.
 *
 *   verify ZONE IP HELO LOCAL DOMAIN     prints the Authentication-Results field
 *   spf ZONE                             lines "IP HELO LOCAL DOMAIN" in, "result explanation" out
 *   sign NOW (DOMAIN SELECTOR KIND KEY)… prints the fields; KIND: rsa or ed25519, KEY: a PEM file
 *   seal NOW DOMAIN SELECTOR KIND KEY CHAIN RESULTS
 *   key KIND                             prints the record, then the PEM
 *   bench ZONE COUNT                     prints ns of CPU time for one verification, and its RSA
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/dkim_sign.h"
#include "core/mail_auth.h"
#include "core/mail_crypto.h"
#include "core/spf.h"
#include "core/test_dns.h"

#define INPUT_MAX (64u << 20)

static void die(const char *what)
{
    fprintf(stderr, "probe_mail_auth: %s\n", what);
    exit(2);
}

static void read_into(const char *path, struct buf *out)
{
    FILE *f = path ? fopen(path, "rb") : stdin;
    if (!f)
        die(path);
    for (;;) {
        char *room = buf_reserve(out, 1024);
        size_t n = room ? fread(room, 1, 1024, f) : 0;
        if (n == 0)
            break;
        buf_commit(out, n);
    }
    if (path)
        fclose(f);
    if (!buf_ok(out))
        die("too long");
}

static void print(str s) { fwrite(s.data, 1, s.len, stdout); }

static str verify(struct test_dns *t, const struct mail_auth_facts *facts, str message,
                  struct arena *arena)
{
    struct mail_auth *m;
    struct mail_auth_verdict v;
    if (mail_auth_begin(&t->dns, facts, &m) != ERR_OK)
        die("begin");
    for (size_t at = 0; at < message.len; at += 16384)
        mail_auth_content(m, str_sub(message, at, 16384));
    if (mail_auth_end(m, DEADLINE_NEVER, arena, &v) != ERR_OK)
        die("end");
    mail_auth_free(m);
    return v.field;
}

static int cmd_verify(int argc, char **argv)
{
    BUF_AUTO struct buf zone = BUF_INIT(INPUT_MAX), message = BUF_INIT(INPUT_MAX);
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    struct test_dns t;
    if (argc != 5)
        die("verify ZONE IP HELO LOCAL DOMAIN");
    struct mail_auth_facts f = {.helo = str_c(argv[2]),
                                .sender = {str_c(argv[3]), str_c(argv[4])},
                                .hostname = STR("probe.test")};
    if (!address_parse(str_c(argv[1]), &f.source))
        die("address");
    read_into(argv[0], &zone);
    read_into(NULL, &message);
    test_dns_open(&t, buf_str(&zone));
    print(verify(&t, &f, buf_str(&message), &arena));
    return 0;
}

static void spf_line(struct test_dns *t, str line)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16 << 20);
    struct spf_question q = {.receiver = STR("probe.test")};
    struct spf_answer a;
    str ip;
    str_cut(line, ' ', &ip, &line);
    str_cut(line, ' ', &q.helo, &line);
    str_cut(line, ' ', &q.sender.local, &q.sender.domain);
    if (!address_parse(ip, &q.source))
        die("address");
    spf_check(&t->dns, &q, &arena, &a);
    printf("%s %.*s\n", spf_result_name(a.result), STR_ARG(a.explanation));
}

static int cmd_spf(int argc, char **argv)
{
    BUF_AUTO struct buf zone = BUF_INIT(INPUT_MAX), in = BUF_INIT(INPUT_MAX);
    struct test_dns t;
    if (argc != 1)
        die("spf ZONE");
    read_into(argv[0], &zone);
    read_into(NULL, &in);
    test_dns_open(&t, buf_str(&zone));
    str rest = buf_str(&in), line;
    while (rest.len) {
        str_cut(rest, '\n', &line, &rest);
        spf_line(&t, line);
    }
    return 0;
}

static struct dkim_signer signer_of(char **argv, struct buf *pem)
{
    buf_init(pem, 65536);
    read_into(argv[3], pem);
    return (struct dkim_signer){str_c(argv[0]), str_c(argv[1]), strcmp(argv[2], "ed25519") == 0,
                                buf_str(pem)};
}

static int cmd_sign(int argc, char **argv)
{
    struct dkim_signer signers[DKIM_SIGNERS_MAX];
    struct buf pem[DKIM_SIGNERS_MAX];
    BUF_AUTO struct buf message = BUF_INIT(INPUT_MAX), out = BUF_INIT(1 << 20);
    size_t n = 0;
    if (argc < 5)
        die("sign NOW (DOMAIN SELECTOR KIND KEY)...");
    for (int i = 1; i + 3 < argc && n < DKIM_SIGNERS_MAX; i += 4, n++)
        signers[n] = signer_of(argv + i, &pem[n]);
    read_into(NULL, &message);
    if (dkim_sign(signers, n, buf_str(&message), strtoll(argv[0], NULL, 10), &out) != ERR_OK)
        die("not signed");
    print(buf_str(&out));
    while (n > 0)
        buf_free(&pem[--n]);
    return 0;
}

static int cmd_seal(int argc, char **argv)
{
    struct buf pem;
    BUF_AUTO struct buf message = BUF_INIT(INPUT_MAX), out = BUF_INIT(1 << 20);
    if (argc != 7)
        die("seal NOW DOMAIN SELECTOR KIND KEY CHAIN RESULTS");
    struct dkim_signer s = signer_of(argv + 1, &pem);
    enum dkim_chain chain = strcmp(argv[5], "none") == 0   ? DKIM_CHAIN_NONE
                            : strcmp(argv[5], "pass") == 0 ? DKIM_CHAIN_PASS
                                                           : DKIM_CHAIN_FAIL;
    read_into(NULL, &message);
    if (arc_seal(&s, str_c(argv[6]), chain, buf_str(&message), strtoll(argv[0], NULL, 10), &out) !=
        ERR_OK)
        die("not sealed");
    print(buf_str(&out));
    buf_free(&pem);
    return 0;
}

static int cmd_key(int argc, char **argv)
{
    BUF_AUTO struct buf pem = BUF_INIT(65536), record = BUF_INIT(65536);
    if (argc != 1 || dkim_make_key(strcmp(argv[0], "ed25519") == 0, &pem, &record) != ERR_OK)
        die("key KIND");
    print(buf_str(&record));
    print(STR("\n"));
    print(buf_str(&pem));
    return 0;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One RSA verification with a key of that size, as the message needs it. */
static uint64_t rsa_ns(uint64_t count)
{
    BUF_AUTO struct buf pem = BUF_INIT(65536), public = BUF_INIT(65536), sig = BUF_INIT(65536);
    uint8_t digest[MAIL_DIGEST_BYTES] = {1};
    if (mail_key_make(false, &pem) != ERR_OK)
        die("key");
    struct mail_key *k = mail_key_read(false, buf_str(&pem));
    if (!k || mail_key_public(k, &public) != ERR_OK || mail_key_sign(k, digest, &sig) != ERR_OK)
        die("key");
    uint64_t begun = cpu_ns();
    for (uint64_t i = 0; i < count; i++)
        if (mail_signature_verify(false, buf_str(&public), digest, buf_str(&sig)) != ERR_OK)
            die("rsa");
    mail_key_free(k);
    return (cpu_ns() - begun) / count;
}

static int cmd_bench(int argc, char **argv)
{
    BUF_AUTO struct buf zone = BUF_INIT(INPUT_MAX), message = BUF_INIT(INPUT_MAX);
    struct test_dns t;
    if (argc != 2)
        die("bench ZONE COUNT");
    uint64_t count = strtoull(argv[1], NULL, 10);
    struct mail_auth_facts f = {.helo = STR("mail.author.test"),
                                .sender = {STR("me"), STR("author.test")},
                                .hostname = STR("probe.test")};
    if (count == 0 || !address_parse(STR("192.0.2.1"), &f.source))
        die("count");
    read_into(argv[0], &zone);
    read_into(NULL, &message);
    test_dns_open(&t, buf_str(&zone));
    uint64_t begun = cpu_ns();
    for (uint64_t i = 0; i < count; i++) {
        ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
        str field = verify(&t, &f, buf_str(&message), &arena);
        if (i == 0)
            print(field);
    }
    uint64_t each = (cpu_ns() - begun) / count, rsa = rsa_ns(count);
    printf("verification %" PRIu64 " ns, of it RSA %" PRIu64 " ns\n", each, rsa);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"verify", cmd_verify}, {"spf", cmd_spf}, {"sign", cmd_sign},
                    {"seal", cmd_seal},     {"key", cmd_key}, {"bench", cmd_bench}};
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, argv[1]) == 0)
            return commands[i].run(argc - 2, argv + 2);
    die("verify, spf, sign, seal, key or bench");
}
