/* The settings of TLS, and what is in the files that they name. */
#include "config_fixture.h"
#include "memory_search.h"
#include "tls_files.h"

#include <ftw.h>
#include <gnutls/abstract.h>
#include <sys/wait.h>
#include <time.h>

static char directory[] = "/tmp/test_config_tls.XXXXXX";

static const char *in_directory(const char *name)
{
    static char paths[8][96];
    static unsigned next;
    char *path = paths[next++ % COUNT(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void put(const char *name, const void *data, size_t len)
{
    FILE *file = fopen(in_directory(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    fclose(file);
}

static void put_datum(const char *name, gnutls_datum_t datum)
{
    put(name, datum.data, datum.size);
    gnutls_free(datum.data);
}

static void put_two(const char *name, const char *one, const char *other)
{
    FILE *out = fopen(in_directory(name), "w");
    assert_non_null(out);
    for (unsigned i = 0; i < 2; i++) {
        FILE *in = fopen(in_directory(i == 0 ? one : other), "r");
        int c;
        assert_non_null(in);
        while ((c = fgetc(in)) != EOF)
            fputc(c, out);
        fclose(in);
    }
    fclose(out);
}

static gnutls_x509_privkey_t make_key(gnutls_pk_algorithm_t algorithm, unsigned bits)
{
    gnutls_x509_privkey_t key;
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(key, algorithm, bits, 0), 0);
    return key;
}

/* Writes the key in the form of PKCS #8 as NAME-key, in its older form as NAME-old, and a certificate as
 * NAME. */
static void make(const char *name, gnutls_x509_privkey_t key, unsigned version, int ca)
{
    char path[64];
    gnutls_datum_t datum;
    gnutls_x509_crt_t cert;

    snprintf(path, sizeof path, "%s-key", name);
    assert_int_equal(
        gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &datum), 0);
    put_datum(path, datum);
    snprintf(path, sizeof path, "%s-old", name);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &datum), 0);
    put_datum(path, datum);

    bool ed = gnutls_x509_privkey_get_pk_algorithm(key) == GNUTLS_PK_EDDSA_ED25519;
    gnutls_digest_algorithm_t digest = ed ? GNUTLS_DIG_SHA512 : GNUTLS_DIG_SHA256;
    assert_int_equal(gnutls_x509_crt_init(&cert), 0);
    assert_int_equal(gnutls_x509_crt_set_version(cert, version), 0);
    assert_int_equal(gnutls_x509_crt_set_serial(cert, "\x01", 1), 0);
    assert_int_equal(gnutls_x509_crt_set_dn(cert, "CN=localhost", NULL), 0);
    assert_int_equal(gnutls_x509_crt_set_activation_time(cert, time(NULL) - 60), 0);
    assert_int_equal(gnutls_x509_crt_set_expiration_time(cert, time(NULL) + 3600), 0);
    assert_int_equal(gnutls_x509_crt_set_key(cert, key), 0);
    if (ca >= 0)
        assert_int_equal(gnutls_x509_crt_set_basic_constraints(cert, (unsigned)ca, -1), 0);
    assert_int_equal(gnutls_x509_crt_sign2(cert, cert, key, digest, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &datum), 0);
    put_datum(name, datum);
    gnutls_x509_crt_deinit(cert);
}

static void make_all(void)
{
    static const char garbage[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
                                  "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    static const char broken[] = "-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\nMHcC";
    static const char parameters[] =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    static const char old_encrypted[] = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                                        "DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    static char large[TLS_FILE_MAX + 1];
    gnutls_datum_t datum;

    gnutls_x509_privkey_t ec = make_key(GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
    make("ec", ec, 3, 0);
    make("ca", ec, 3, 1);
    make("v1", ec, 1, -1);
    make("plain", ec, 3, -1);
    assert_int_equal(
        gnutls_x509_privkey_export2_pkcs8(ec, GNUTLS_X509_FMT_PEM, "x", GNUTLS_PKCS_PBES2_AES_256, &datum),
        0);
    put_datum("encrypted", datum);
    assert_int_equal(gnutls_x509_privkey_export2(ec, GNUTLS_X509_FMT_DER, &datum), 0);
    put_datum("der", datum);
    gnutls_x509_privkey_deinit(ec);
    gnutls_x509_privkey_t rsa = make_key(GNUTLS_PK_RSA, 2048);
    make("rsa", rsa, 3, 0);
    gnutls_x509_privkey_deinit(rsa);
    gnutls_x509_privkey_t ed = make_key(GNUTLS_PK_EDDSA_ED25519, 256);
    make("ed", ed, 3, 0);
    gnutls_x509_privkey_deinit(ed);
    /* An X25519 key agrees on secrets and cannot sign; all zero is as good a one as any. */
    static const char x25519[] =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAA\n-----END PRIVATE KEY-----\n";
    put("x25519", x25519, strlen(x25519));
    put("parameters", parameters, strlen(parameters));
    put_two("ec-openssl", "parameters", "ec-old");
    put_two("chain", "ec", "ca");
    put_two("backwards", "rsa", "ec");
    put_two("combined", "ec-key", "ec");
    put_two("two-cas", "ca", "v1");
    put_two("ca-and-leaf", "ca", "ec");
    put("garbage", garbage, strlen(garbage));
    put("broken", broken, strlen(broken));
    put("old-encrypted", old_encrypted, strlen(old_encrypted));
    put("empty", "", 0);
    memset(large, 'x', sizeof large);
    put("large", large, sizeof large);
    put("nul", "\0", 1);
}

/* In a process of its own, or its memory would be full of keys. */
static int make_files(void **state)
{
    int status;

    assert_non_null(mkdtemp(directory));
    pid_t child = fork();
    if (child == 0) {
        make_all();
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    return remove(path);
}

static int remove_files(void **state)
{
    return nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void files_are_checked(void **state)
{
    static const struct {
        const char *rule, *cert, *key, *client_ca;
        enum tls_file file;
        const char *wrong;
    } cases[] = {
        {"ECDSA", "ec", "ec-key", "", TLS_FILES_GOOD, NULL},
        {"ECDSA in the older form", "ec", "ec-old", "", TLS_FILES_GOOD, NULL},
        {"as openssl ecparam writes it", "ec", "ec-openssl", "", TLS_FILES_GOOD, NULL},
        {"RSA", "rsa", "rsa-key", "", TLS_FILES_GOOD, NULL},
        {"RSA in the older form", "rsa", "rsa-old", "", TLS_FILES_GOOD, NULL},
        {"Ed25519", "ed", "ed-key", "", TLS_FILES_GOOD, NULL},
        {"a chain", "chain", "ec-key", "", TLS_FILES_GOOD, NULL},
        {"both in one file", "combined", "combined", "", TLS_FILES_GOOD, NULL},
        {"a CA for clients", "ec", "ec-key", "ca", TLS_FILES_GOOD, NULL},
        {"two of them, one of version 1", "ec", "ec-key", "two-cas", TLS_FILES_GOOD, NULL},
        {"no certificate there", "nowhere", "ec-key", "", TLS_FILE_CERT, "No such file"},
        {"a directory", ".", "ec-key", "", TLS_FILE_CERT, "Is a directory"},
        {"an empty file", "empty", "ec-key", "", TLS_FILE_CERT, "empty"},
        {"a large file", "large", "ec-key", "", TLS_FILE_CERT, "too large"},
        {"no text", "nul", "ec-key", "", TLS_FILE_CERT, "not text"},
        {"a key for a certificate", "ec-key", "ec-key", "", TLS_FILE_CERT, "no PEM certificate"},
        {"DER", "der", "ec-key", "", TLS_FILE_CERT, ""},
        {"a certificate of nothing", "garbage", "ec-key", "", TLS_FILE_CERT, ""},
        {"half a certificate", "broken", "ec-key", "", TLS_FILE_CERT, ""},
        {"no key there", "ec", "nowhere", "", TLS_FILE_KEY, "No such file"},
        {"an empty key", "ec", "empty", "", TLS_FILE_KEY, "empty"},
        {"a certificate for a key", "ec", "ec", "", TLS_FILE_KEY, "no PEM private key"},
        {"parameters for a key", "ec", "parameters", "", TLS_FILE_KEY, "no PEM private key"},
        {"a key of nothing", "ec", "garbage", "", TLS_FILE_KEY, "cannot be read"},
        {"half a key", "ec", "broken", "", TLS_FILE_KEY, "no PEM private key"},
        {"a key in DER", "ec", "der", "", TLS_FILE_KEY, ""},
        {"a key with a passphrase", "ec", "encrypted", "", TLS_FILE_KEY, "encrypted"},
        {"the older form of it", "rsa", "old-encrypted", "", TLS_FILE_KEY, "encrypted"},
        {"a key that cannot sign", "ec", "x25519", "", TLS_FILE_KEY, "no RSA, ECDSA or EdDSA key"},
        {"another's key", "ec", "rsa-key", "", TLS_FILE_PAIR, "another key"},
        {"another's key of the same kind", "rsa", "ec-old", "", TLS_FILE_PAIR, "another key"},
        {"a chain in the wrong order", "backwards", "ec-key", "", TLS_FILE_PAIR, "another key"},
        {"no CA there", "ec", "ec-key", "nowhere", TLS_FILE_CLIENT_CA, "No such file"},
        {"a key for a CA", "ec", "ec-key", "ec-key", TLS_FILE_CLIENT_CA, "no PEM certificate"},
        {"a certificate that is no CA's", "ec", "ec-key", "ec", TLS_FILE_CLIENT_CA, "not a CA's"},
        {"one that does not say so", "ec", "ec-key", "plain", TLS_FILE_CLIENT_CA, "not a CA's"},
        {"one among CAs", "ec", "ec-key", "ca-and-leaf", TLS_FILE_CLIENT_CA, "not a CA's"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct tls_files files = {in_directory(cases[i].cert), in_directory(cases[i].key),
                                        cases[i].client_ca[0] != '\0' ? in_directory(cases[i].client_ca)
                                                                      : ""};
        char message[256] = "";
        print_message("# %s\n", cases[i].rule);
        assert_int_equal(tls_files_check(&files, message, sizeof message), cases[i].file);
        assert_int_equal(message[0] == '\0', cases[i].file == TLS_FILES_GOOD);
        if (cases[i].wrong != NULL && strstr(message, cases[i].wrong) == NULL)
            fail_msg("%s", message);
        assert_null(strstr(message, directory));
    }
}

static void what_was_loaded_is_handed_out(void **state)
{
    const struct tls_files files = {in_directory("chain"), in_directory("ec-key"), in_directory("two-cas")};
    struct tls_loaded loaded, none = {0};
    char message[256];

    assert_int_equal(tls_files_load(&files, &loaded, message, sizeof message), TLS_FILES_GOOD);
    assert_int_equal(loaded.chain_len, 2);
    assert_int_equal(loaded.client_ca_count, 2);
    assert_non_null(loaded.key);
    tls_files_unload(&loaded);
    assert_memory_equal(&loaded, &none, sizeof none);
    tls_files_unload(&loaded);
}

static void settings_at_fault_are_named(void **state)
{
    static const struct {
        const char *rule, *cert, *key, *client_ca, *parts[3];
    } cases[] = {
        {"a pair", "ec", "ec-key", NULL, {NULL}},
        {"a pair and a CA", "ec", "ec-key", "ca", {NULL}},
        {"no key", "ec", NULL, NULL, {"TELEMETRYD_TLS_KEY: is missing: TELEMETRYD_TLS_CERT needs it"}},
        {"no certificate",
         NULL,
         "ec-key",
         NULL,
         {"TELEMETRYD_TLS_CERT: is missing: TELEMETRYD_TLS_KEY needs it"}},
        {"a CA without TLS",
         NULL,
         NULL,
         "ca",
         {"TELEMETRYD_TLS_CLIENT_CA: there is no TLS to ask for a certificate: give TELEMETRYD_TLS_CERT"}},
        {"a CA with half of a pair", "ec", NULL, "ca", {"TELEMETRYD_TLS_KEY: is missing"}},
        {"missing files",
         "nowhere",
         "nowhere",
         "nowhere",
         {"TELEMETRYD_TLS_CERT: '", "TELEMETRYD_TLS_KEY: '", "TELEMETRYD_TLS_CLIENT_CA: '"}},
        {"a wrong certificate", "ec-key", "ec-key", NULL, {"TELEMETRYD_TLS_CERT: '"}},
        {"a wrong key", "ec", "encrypted", NULL, {"TELEMETRYD_TLS_KEY: '"}},
        {"a pair that does not fit",
         "ec",
         "rsa-key",
         NULL,
         {"TELEMETRYD_TLS_CERT: does not fit TELEMETRYD_TLS_KEY: "}},
        {"a wrong CA", "ec", "ec-key", "ec", {"TELEMETRYD_TLS_CLIENT_CA: '"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const names[] = {"TELEMETRYD_TLS_CERT", "TELEMETRYD_TLS_KEY", "TELEMETRYD_TLS_CLIENT_CA"};
        const char *const values[] = {cases[i].cert, cases[i].key, cases[i].client_ca};
        char *settings[3];
        for (unsigned j = 0; j < 3; j++)
            settings[j] = join(names[j], values[j] != NULL ? in_directory(values[j]) : "");
        const char *parts[4] = {cases[i].parts[0], cases[i].parts[1], cases[i].parts[2], NULL};
        print_message("# %s\n", cases[i].rule);
        if (parts[0] == NULL)
            load_good(ARGS(), ENV(settings[0], settings[1], settings[2]));
        else
            assert_refused(ARGS(), ENV(settings[0], settings[1], settings[2]), parts);
        for (unsigned j = 0; j < 3; j++)
            free(settings[j]);
    }
}

static void tls_is_no_authentication(void **state)
{
    char *cert = join("TELEMETRYD_TLS_CERT", in_directory("ec"));
    char *key = join("TELEMETRYD_TLS_KEY", in_directory("ec-key"));
    assert_refused(ARGS(), ENV(cert, key, "TELEMETRYD_LISTEN=0.0.0.0:1"),
                   (const char *const[]){"TELEMETRYD_AUTH: is not set", NULL});
    free(cert);
    free(key);
}

/* The last characters of the key's text, inverted, read a byte at a time. Its beginning is what is written
 * over first. */
static void read_hidden(const char *name, unsigned char *inverted, size_t len)
{
    static const char end[] = "\n-----END ";
    FILE *file = fopen(in_directory(name), "r");
    long at = 0;
    size_t matched = 0;

    assert_non_null(file);
    setvbuf(file, NULL, _IONBF, 0);
    for (int c; matched < sizeof end - 1 && (c = fgetc(file)) != EOF; at++)
        matched = c == end[matched] ? matched + 1 : c == end[0];
    assert_int_equal(matched, sizeof end - 1);
    assert_int_equal(fseek(file, at - (long)(sizeof end - 1 + len), SEEK_SET), 0);
    for (size_t i = 0; i < len; i++)
        inverted[i] = (unsigned char)~fgetc(file);
    fclose(file);
}

static void the_text_of_a_key_leaves_memory(void **state)
{
    static const char *const keys[][2] = {
        {"ec", "ec-key"}, {"ec", "ec-old"}, {"rsa", "rsa-key"}, {"rsa", "rsa-old"}, {"combined", "combined"}};

    for (size_t i = 0; i < COUNT(keys); i++) {
        const struct tls_files files = {in_directory(keys[i][0]), in_directory(keys[i][1]), ""};
        struct tls_loaded loaded;
        unsigned char inverted[16];
        char message[256];

        print_message("# %s\n", keys[i][1]);
        read_hidden(keys[i][1], inverted, sizeof inverted);
        assert_int_equal(tls_files_load(&files, &loaded, message, sizeof message), TLS_FILES_GOOD);
        assert_int_equal(memory_search_inverted(inverted, sizeof inverted), 0);
        tls_files_unload(&loaded);
        assert_int_equal(memory_search_inverted(inverted, sizeof inverted), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_of_a_key_leaves_memory), cmocka_unit_test(files_are_checked),
        cmocka_unit_test(what_was_loaded_is_handed_out),   cmocka_unit_test(settings_at_fault_are_named),
        cmocka_unit_test(tls_is_no_authentication),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
